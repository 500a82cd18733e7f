// Package driverkeys reads the keys of a connection string that are meant for the driver and not for libpq.
package driverkeys

import (
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Settings are what the keys say. nil means that a key is not given.
type Settings struct {
	Mode                  *pgx.QueryExecMode
	statements, described *int32
	Native                bool           // pgsafe_conn=native
	Telemetry             string         // "on", "off" or "otelsql"
	CancelTimeout         *time.Duration // pgsafe_cancel_timeout
	PoolName              string         // pgsafe_pool_name
	quiet                 bool           // pgsafe_warnings=off
}

// Read reads the keys. The error is a *urlfix.Error.
func Read(keys []urlfix.Param) (Settings, error) {
	var s Settings
	for _, k := range keys {
		if err := s.set(k.Key, k.Value); err != nil {
			return s, err
		}
	}
	return s, s.validate()
}

func (s *Settings) set(key, value string) error {
	switch key {
	case "default_query_exec_mode":
		mode, ok := execModes[value]
		if !ok {
			return refuse(urlfix.CodeValue, key, "not one of pgx's modes",
				"use cache_statement, cache_describe, describe_exec, exec or simple_protocol")
		}
		s.Mode = &mode
	case "statement_cache_capacity":
		n, err := Count(key, value, 0)
		s.statements = &n
		return err
	case "description_cache_capacity":
		n, err := Count(key, value, 0)
		s.described = &n
		return err
	case "pgsafe_conn":
		if value != "native" {
			return refuse(urlfix.CodeValue, key, "not a kind of connection", "use pgsafe_conn=native, or leave it out")
		}
		s.Native = true
	case "pgsafe_telemetry":
		if !slices.Contains([]string{"on", "off", "otelsql"}, value) {
			return refuse(urlfix.CodeValue, key, "not one of on, off and otelsql", "use pgsafe_telemetry=off, or leave it out")
		}
		s.Telemetry = value
	case "pgsafe_cancel_timeout":
		d, err := Duration(key, value)
		s.CancelTimeout = &d
		return err
	case "pgsafe_pool_name":
		s.PoolName = value
	case "pgsafe_warnings":
		s.quiet = value == "off"
	case "pgsafe_dialect": // urlfix has read the string by it
	default:
		return refuse(urlfix.CodeUnsupported, key, "this version has no such setting", "leave it out")
	}
	return nil
}

var execModes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement,
	"cache_describe":  pgx.QueryExecModeCacheDescribe,
	"describe_exec":   pgx.QueryExecModeDescribeExec,
	"exec":            pgx.QueryExecModeExec,
	"simple_protocol": pgx.QueryExecModeSimpleProtocol,
}

// validate refuses a cache of none for the mode that needs it, which pgx would report at every query
// (conn.go, errDisabledStatementCache).
func (s *Settings) validate() error {
	const hint = "add default_query_exec_mode=exec, or describe_exec"
	isMode := func(mode pgx.QueryExecMode) bool { return s.Mode != nil && *s.Mode == mode }
	switch {
	case isZero(s.statements) && (s.Mode == nil || isMode(pgx.QueryExecModeCacheStatement)):
		return refuse(urlfix.CodeConflict, "statement_cache_capacity",
			"statements cannot run in the mode cache_statement without that cache", hint)
	case isZero(s.described) && isMode(pgx.QueryExecModeCacheDescribe):
		return refuse(urlfix.CodeConflict, "description_cache_capacity",
			"statements cannot run in the mode cache_describe without that cache", hint)
	}
	return nil
}

func isZero(n *int32) bool { return n != nil && *n == 0 }

// Warnings returns the lists as one, or none of them with pgsafe_warnings=off.
func (s *Settings) Warnings(lists ...[]urlfix.Note) []urlfix.Note {
	if s.quiet {
		return nil
	}
	return slices.Concat(lists...)
}

// Apply puts what pgx knows of the settings into its configuration.
func (s *Settings) Apply(config *pgx.ConnConfig) {
	if s.Mode != nil {
		config.DefaultQueryExecMode = *s.Mode
	}
	if s.statements != nil {
		config.StatementCacheCapacity = int(*s.statements)
	}
	if s.described != nil {
		config.DescriptionCacheCapacity = int(*s.described)
	}
}

// Count reads a whole number of at least least. The error is a *urlfix.Error.
func Count(key, value string, least int64) (int32, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < least {
		return 0, refuse(urlfix.CodeValue, key, "not a whole number of at least "+strconv.FormatInt(least, 10),
			"write "+key+"=20, say, or leave it out")
	}
	return int32(n), nil
}

// Duration reads a duration with a unit. The error is a *urlfix.Error.
func Duration(key, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, refuse(urlfix.CodeValue, key, "not a duration of zero or more with a unit",
			"write "+key+"=30s, say, or 5m")
	}
	return d, nil
}

func refuse(code urlfix.Code, part, reason, hint string) error {
	return &urlfix.Error{Code: code, Part: part, Reason: reason, Hint: hint, Pos: -1}
}
