package serverconn

import "sync"

// textsLimit bounds the texts of prepared statements that are remembered.
const textsLimit = 2048

// Texts remembers the number of parameters of each prepared text. It is safe for concurrent use.
type Texts struct {
	mu     sync.RWMutex
	inputs map[string]int
}

// NewTexts returns an empty Texts.
func NewTexts() *Texts { return &Texts{inputs: make(map[string]int)} }

// Get returns the number of parameters of a text, if that is known.
func (t *Texts) Get(text string) (inputs int, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	inputs, known = t.inputs[text]
	return inputs, known
}

// Put remembers a text. At the limit any other one goes: it costs one round trip to be asked for
// again.
func (t *Texts) Put(text string, inputs int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.inputs) >= textsLimit {
		for other := range t.inputs {
			delete(t.inputs, other)
			break
		}
	}
	t.inputs[text] = inputs
}
