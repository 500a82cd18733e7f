package session

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// commit ends the transaction, and gives its connection back.
func (t *transaction) commit(ctx context.Context) error {
	ended := t.root.end()
	t.closeRows(func(o *openContext) { o.endQuietly(ended) })
	if err := t.root.alone(ctx); err != nil && ctx.Err() == nil {
		t.spoil(err)
	}
	spoiled, _ := t.troubles()
	if spoiled != nil || ctx.Err() != nil {
		t.rollBack()
		return errors.Join(ctx.Err(), rolledBack(spoiled))
	}
	number := t.number(ctx)
	if !t.stopAbort() {
		<-t.aborted
		t.cancel(ended)
		t.lent.end(t.abortErr)
		return ctx.Err()
	}
	t.begun.follow() // how long a COMMIT may take once its context has ended is the driver's to say
	err := t.tx.Commit()
	t.begun.stopFollowing()
	t.cancel(ended)
	if err == nil {
		t.lent.end(nil)
		return nil
	}
	known := t.known(ctx, err)
	t.lent.end(err)
	if known == nil {
		known = t.session.db.resolve(ctx, number, err)
	}
	return known
}

// rolledBack is the error for err having kept the transaction from being committed, nil if err is.
func rolledBack(err error) error {
	if err == nil {
		return nil
	}
	return &outcomeError{what: ErrRolledBack, causes: []error{err}}
}

// known returns the error of a COMMIT that certainly did not take place, nil if it may have. The connection tells:
// after one that did the driver would have said so, as long as it can speak with the server. On one that is lost the
// answer may be what was lost with it, even if there is an error of the server's, which ends a connection by one
// (57P01) and may do so between COMMIT and its answer (postgres.c, ProcessInterrupts; xact.c, CommitTransaction holds
// interrupts off).
func (t *transaction) known(ctx context.Context, err error) error {
	if errors.Is(err, ErrCommitUnknown) {
		return nil
	}
	certain := certainlyFailed(err) || t.alive(ctx)
	switch {
	case !certain:
		return nil
	case ctx.Err() != nil && stateOf(err) == "":
		return errors.Join(ctx.Err(), rolledBack(err))
	case stateOf(err) != "" || broken(err):
		return err
	}
	e := &outcomeError{what: ErrRolledBack, causes: []error{err}}
	if _, conflict := t.troubles(); conflict != nil {
		e.causes = append(e.causes, conflict)
	}
	return e
}

// certainlyFailed recognises a COMMIT that was not sent, and those that the server refuses: for a constraint (class 23)
// or a conflict (class 40).
func certainlyFailed(err error) bool {
	state := stateOf(err)
	return broken(err) || len(state) == 5 && (state[:2] == "23" || state[:2] == "40")
}

// alive asks whether the server still listens on the connection.
func (t *transaction) alive(ctx context.Context) bool {
	if t.lent.conn == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return t.lent.conn.PingContext(ctx) == nil
}

// number returns what the server calls the transaction, "" if it has no number yet, for want of changes, or if nobody
// wants to know.
func (t *transaction) number(ctx context.Context) string {
	if t.session.db.options.commitCheck <= 0 || t.options.ReadOnly {
		return ""
	}
	var id sql.NullString
	if t.tx.QueryRowContext(ctx, "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text").Scan(&id) != nil {
		return "" // the COMMIT meets the reason too
	}
	return id.String
}

// resolve finds out what became of a COMMIT whose answer was lost, with the error err.
func (db *DB) resolve(ctx context.Context, number string, err error) error {
	err = underUnknown(err)
	unknown := &outcomeError{what: ErrCommitUnknown, causes: []error{err}}
	if number == "" {
		return unknown
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.options.commitCheck)
	defer cancel()
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		var status sql.NullString
		row := db.sql.QueryRowContext(ctx, "SELECT pg_catalog.pg_xact_status($1::text::xid8)", number)
		if row.Scan(&status) == nil && status.String != "in progress" {
			switch status.String {
			case "committed":
				return nil
			case "aborted":
				return &outcomeError{what: ErrRolledBack, causes: []error{err}, repeating: true}
			}
			return unknown // it is too long ago for the server to know
		}
		if pause(ctx, wait) != nil {
			return unknown
		}
	}
}

// underUnknown returns what an error wraps beside ErrCommitUnknown, as that of pgsafe's driver does; else the error.
func underUnknown(err error) error {
	if several, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what is wrapped is looked at
		for _, e := range several.Unwrap() {
			if !errors.Is(e, ErrCommitUnknown) {
				return e
			}
		}
	}
	return err
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
