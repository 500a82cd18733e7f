package failure

import (
	"cmp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// OfServer returns the kind of an error that the server, or a pooler in front of it, has sent.
func OfServer(err *pgconn.PgError) Kind {
	if err.Code == sqlstate.ProtocolViolation {
		if kind := ofPooler(err); kind != None {
			return kind
		}
	}
	if isRefusedSetting(err) {
		return Config
	}
	return ofState(err.Code)
}

func ofState(code string) Kind {
	switch code {
	case sqlstate.SerializationFailure, sqlstate.DeadlockDetected:
		return Serialization
	case sqlstate.UniqueViolation, sqlstate.ExclusionViolation:
		return Unique
	case sqlstate.QueryCanceled, sqlstate.LockNotAvailable, sqlstate.IdleInTransactionSessionTimeout,
		sqlstate.TransactionTimeout, sqlstate.IdleSessionTimeout:
		return Timeout
	case sqlstate.InvalidCatalogName:
		return Config
	case sqlstate.InsufficientPrivilege:
		return Auth
	}
	switch sqlstate.Class(code) {
	case sqlstate.ClassIntegrityConstraintViolation:
		return Constraint
	case sqlstate.ClassInvalidAuthorization:
		return Auth
	case sqlstate.ClassConnectionException, sqlstate.ClassInsufficientResources:
		return Unavailable
	case sqlstate.ClassOperatorIntervention:
		if strings.HasPrefix(code, "57P") {
			return Unavailable
		}
	}
	return Other
}

// isRefusedSetting recognises a login that failed because of a setting in the connection string.
// The server checks settings before its session's loop begins, so that each error is FATAL
// (postgres.c, PostgresMain, and postinit.c, process_startup_options and process_settings). A
// statement's error with such a code is an ERROR. The codes are those of guc.c (set_config_option),
// of the checks of single settings, of process_postgres_switches (postgres.c), which reads
// "options", and of InitializeClientEncoding (mbutils.c).
func isRefusedSetting(err *pgconn.PgError) bool {
	if !IsFatal(err) {
		return false
	}
	switch err.Code {
	case sqlstate.InvalidParameterValue, sqlstate.UndefinedObject, sqlstate.CantChangeRuntimeParam,
		sqlstate.InvalidTextRepresentation, sqlstate.SyntaxError, sqlstate.FeatureNotSupported:
		return true
	}
	return false
}

// IsFatal reports whether the server ended the session with err.
func IsFatal(err *pgconn.PgError) bool { return Severity(err) == "FATAL" }

// Severity returns the severity that the server did not translate, which it sends since 9.6. A
// pooler, or an older server, may send the other one only.
func Severity(err *pgconn.PgError) string { return cmp.Or(err.SeverityUnlocalized, err.Severity) }

// ofPooler returns the kind of an error that PgBouncer sent itself, None if it is not known by its
// words. All that PgBouncer says for itself has one code (disconnect_client, src/objects.c); later
// versions give a wrong password a code of its own.
func ofPooler(err *pgconn.PgError) Kind {
	switch {
	case strings.HasSuffix(err.Message, "authentication failed"), // SASL, password, certificate, ... (src/client.c)
		strings.HasSuffix(err.Message, "login rejected"), err.Message == "no such user":
		return Auth
	case IsRefusedParameter(err), strings.HasPrefix(err.Message, "no such database"), err.Message == "SSL required":
		return Config
	}
	return None
}

// IsRefusedParameter reports whether PgBouncer refused a setting that it does not pass on to
// servers.
func IsRefusedParameter(err *pgconn.PgError) bool {
	return err.Code == sqlstate.ProtocolViolation && strings.HasPrefix(err.Message, "unsupported startup parameter")
}

// IsPoolerWait reports whether PgBouncer is full, or has found its server down and will try again
// (decide_startup_pool, src/client.c; check_fast_fail, src/objects.c).
func IsPoolerWait(err *pgconn.PgError) bool {
	return err.Code == sqlstate.ProtocolViolation && (strings.HasPrefix(err.Message, "no more connections allowed") ||
		strings.HasPrefix(err.Message, "server login has been failing, "))
}
