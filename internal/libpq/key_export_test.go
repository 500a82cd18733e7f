package libpq

// DecodeKey is for the fuzz target.
var DecodeKey = decodeKey
