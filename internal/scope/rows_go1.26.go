//go:build !go1.27

package scope

// scanner is what rows need to be scanned by column, as Go does from 1.27 on.
type scanner struct{}

// types are what columns are scanned with.
type types struct{}
