// Package sqlstate names the SQLSTATE codes that pgsafe reacts to. The names are the condition
// names of PostgreSQL's appendix A, "PostgreSQL Error Codes".
package sqlstate

import "errors"

// Codes.
const (
	ProtocolViolation                 = "08P01" // PgBouncer uses it for all errors of its own
	FeatureNotSupported               = "0A000"
	InvalidParameterValue             = "22023"
	InvalidTextRepresentation         = "22P02"
	UniqueViolation                   = "23505"
	ExclusionViolation                = "23P01"
	ReadOnlySQLTransaction            = "25006"
	IdleInTransactionSessionTimeout   = "25P03"
	TransactionTimeout                = "25P04" // since PostgreSQL 17
	InvalidSQLStatementName           = "26000"
	InvalidAuthorizationSpecification = "28000"
	InvalidPassword                   = "28P01"
	InvalidCatalogName                = "3D000" // a database that does not exist
	InvalidSchemaName                 = "3F000"
	SerializationFailure              = "40001"
	DeadlockDetected                  = "40P01"
	InsufficientPrivilege             = "42501"
	SyntaxError                       = "42601"
	InvalidName                       = "42602"
	DuplicatePreparedStatement        = "42P05"
	UndefinedObject                   = "42704"
	TooManyConnections                = "53300"
	CantChangeRuntimeParam            = "55P02"
	LockNotAvailable                  = "55P03"
	QueryCanceled                     = "57014"
	AdminShutdown                     = "57P01"
	CrashShutdown                     = "57P02"
	CannotConnectNow                  = "57P03"
	DatabaseDropped                   = "57P04"
	IdleSessionTimeout                = "57P05" // since PostgreSQL 14
)

// Classes, as Class returns them.
const (
	ClassConnectionException              = "08"
	ClassIntegrityConstraintViolation     = "23"
	ClassInvalidAuthorization             = "28"
	ClassSyntaxErrorOrAccessRuleViolation = "42"
	ClassInsufficientResources            = "53"
	ClassOperatorIntervention             = "57"
)

// Of returns the SQLSTATE of the first error in err's tree that has one, or "" if there is none.
func Of(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// Class returns the class of a code, its first two characters, or "" for a shorter text.
func Class(code string) string {
	if len(code) < 2 {
		return ""
	}
	return code[:2]
}
