package layer

import "sync"

// registry holds the layers that a connection string can ask for, by name.
var registry = struct {
	sync.Mutex
	layers map[string]Layer
}{layers: make(map[string]Layer)}

// Register makes l available to connection strings as pgsafe_telemetry=name. The package that
// links the library calls it when it is initialized.
func Register(name string, l Layer) {
	registry.Lock()
	defer registry.Unlock()
	registry.layers[name] = l
}

// Registered returns the layer with this name. It reports false if the program does not import the
// package that registers it.
func Registered(name string) (Layer, bool) {
	registry.Lock()
	defer registry.Unlock()
	l, ok := registry.layers[name]
	return l, ok
}
