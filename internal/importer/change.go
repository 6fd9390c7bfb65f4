package importer

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
)

// Change is a line of the report: a row that is not what it was in the file.
type Change struct {
	Table  string `json:"table"`
	ID     any    `json:"id"` // in the file
	Action Action `json:"action"`
	Rule   Rule   `json:"rule"`
	Column string `json:"column,omitempty"`
	Before any    `json:"before"`
	After  any    `json:"after"`
	// Row is a dropped row with all its columns.
	Row map[string]any `json:"row,omitempty"`
}

// plain returns a value of the file for the report, complete: what JSON cannot hold comes as base64.
func plain(value legacy.Value) any {
	switch value.Kind {
	case legacy.Integer:
		return value.Int
	case legacy.Real:
		return realText(value.Real)
	case legacy.Text:
		if utf8.ValidString(value.Bytes) {
			return value.Bytes
		}
		return map[string]string{"text_base64": base64.StdEncoding.EncodeToString([]byte(value.Bytes))}
	case legacy.Blob:
		return map[string]string{"blob_base64": base64.StdEncoding.EncodeToString([]byte(value.Bytes))}
	}
	return nil
}

// written returns a value as it is written, for the report.
func written(kind canonical.Kind, value canonical.Value) any {
	switch {
	case value.Null:
		return nil
	case kind == canonical.Time:
		return time.UnixMicro(value.Int).UTC().Format(time.RFC3339Nano)
	case kind == canonical.Bool:
		return value.Int == 1
	case kind == canonical.Int:
		return value.Int
	case kind == canonical.Bytes:
		return base64.StdEncoding.EncodeToString([]byte(value.Text))
	}
	return value.Text
}

// wholeRow returns a row of the file for the report.
func wholeRow(table *canonical.Table, values []legacy.Value) map[string]any {
	row := make(map[string]any, len(values))
	for i, column := range table.Columns {
		row[column.Name] = plain(values[i])
	}
	return row
}
