package pgsafe

import (
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// driverSettings are what the driver's own keys in a connection string say. nil means not given.
type driverSettings struct {
	mode                  *pgx.QueryExecMode
	statements, described *int32
	native                bool
	telemetry             string // "on", "off" or "otelsql"
	cancelTimeout         *time.Duration
}

// driverSettingsOf reads the keys that are meant for the driver and not for libpq.
func driverSettingsOf(keys []urlfix.Param) (driverSettings, error) {
	var s driverSettings
	for _, k := range keys {
		if err := s.set(k.Key, k.Value); err != nil {
			return s, err
		}
	}
	return s, s.validate()
}

func (s *driverSettings) set(key, value string) error {
	switch key {
	case "default_query_exec_mode":
		mode, ok := execModes[value]
		if !ok {
			return driverError(CodeValue, key, "not one of pgx's modes",
				"use cache_statement, cache_describe, describe_exec, exec or simple_protocol")
		}
		s.mode = &mode
	case "statement_cache_capacity":
		n, err := count(key, value, 0)
		s.statements = &n
		return err
	case "description_cache_capacity":
		n, err := count(key, value, 0)
		s.described = &n
		return err
	case "pgsafe_conn":
		if value != "native" {
			return driverError(CodeValue, key, "not a kind of connection", "use pgsafe_conn=native, or leave it out")
		}
		s.native = true
	case "pgsafe_telemetry":
		if !slices.Contains([]string{"on", "off", "otelsql"}, value) {
			return driverError(CodeValue, key, "not one of on, off and otelsql", "use pgsafe_telemetry=off, or leave it out")
		}
		s.telemetry = value
	case "pgsafe_cancel_timeout":
		d, err := duration(key, value)
		s.cancelTimeout = &d
		return err
	case "pgsafe_dialect": // urlfix has read the string by it
	default:
		return driverError(CodeUnsupported, key, "this version has no such setting", "leave it out")
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

// validate refuses a cache of none for the mode that needs it, which pgx would tell at every query
// (conn.go, errDisabledStatementCache).
func (s *driverSettings) validate() error {
	const hint = "add default_query_exec_mode=exec, or describe_exec"
	switch {
	case s.statements != nil && *s.statements == 0 && (s.mode == nil || *s.mode == pgx.QueryExecModeCacheStatement):
		return driverError(CodeConflict, "statement_cache_capacity", "statements cannot run in the mode cache_statement without that cache", hint)
	case s.described != nil && *s.described == 0 && s.mode != nil && *s.mode == pgx.QueryExecModeCacheDescribe:
		return driverError(CodeConflict, "description_cache_capacity", "statements cannot run in the mode cache_describe without that cache", hint)
	}
	return nil
}

func (s *driverSettings) apply(config *pgx.ConnConfig) {
	if s.mode != nil {
		config.DefaultQueryExecMode = *s.mode
	}
	if s.statements != nil {
		config.StatementCacheCapacity = int(*s.statements)
	}
	if s.described != nil {
		config.DescriptionCacheCapacity = int(*s.described)
	}
}

func driverError(code DSNCode, part, reason, hint string) error {
	return &DSNError{Code: code, Part: part, Reason: reason, Hint: hint, Pos: -1}
}

// checkKeys refuses what sql.Open would refuse about the keys that are no part of the canonical URI.
func checkKeys(pool, driver []urlfix.Param) error {
	if _, err := profileOf(pool, ""); err != nil {
		return err
	}
	_, err := driverSettingsOf(driver)
	return err
}
