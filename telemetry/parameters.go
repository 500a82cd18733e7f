package telemetry

import (
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
)

// parameterLimit bounds an argument that is shown, in bytes.
const parameterLimit = 256

// parameters are the arguments as the conventions name them, counted from 0. What pgx takes in front of them, such as
// a QueryExecMode, is no argument.
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
