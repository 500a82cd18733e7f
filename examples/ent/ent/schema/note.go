// Package schema is what the client is generated from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Note is a row of notes. What the database fills in by itself is left to it.
type Note struct{ ent.Schema }

// Fields are the columns beside id.
func (Note) Fields() []ent.Field {
	return []ent.Field{field.Text("text")}
}
