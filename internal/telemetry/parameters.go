package telemetry

import (
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
)

// parameterLimit bounds the text of an argument, in bytes.
const parameterLimit = 256

// parameters returns the attributes of the arguments, counted from 0. It leaves out pgx's options,
// such as a QueryExecMode, which precede the arguments.
func parameters(args []any) []attribute.KeyValue {
	var attributes []attribute.KeyValue
	for _, arg := range args {
		switch arg.(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID, pgx.QueryRewriter:
			continue
		}
		key := "db.query.parameter." + strconv.Itoa(len(attributes))
		attributes = append(attributes, attribute.String(key, cut(fmt.Sprint(arg), parameterLimit)))
	}
	return attributes
}
