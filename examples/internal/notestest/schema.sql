-- A note belongs to a tenant, and names the server process that wrote it.
CREATE TABLE notes (
    id      bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text    text    NOT NULL CHECK (text <> ''),
    tenant  integer NOT NULL DEFAULT coalesce(nullif(current_setting('app.tenant', true), '')::integer, 0),
    backend integer NOT NULL DEFAULT pg_backend_pid()
);

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON notes USING (tenant = nullif(current_setting('app.tenant', true), '')::integer);
