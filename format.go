package pgsafe

// String shows no setting of a context: fmt would follow the handle's pointers.
func (h *Conn) String() string { return "pgsafe.Conn of " + h.connector.String() }

// GoString is String, so that %#v shows none either.
func (h *Conn) GoString() string { return h.String() }
