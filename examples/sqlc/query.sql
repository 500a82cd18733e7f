-- name: AddNote :exec
INSERT INTO notes (text) VALUES ($1);

-- name: ListNotes :many
SELECT text FROM notes ORDER BY id;
