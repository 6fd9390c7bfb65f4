package telemetry

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestStatementNames(t *testing.T) {
	t.Parallel()
	names := newStatementNames([]string{"CartAdd"})
	for sql, want := range map[string]string{
		"-- name: MessageAdd :one\nWITH session AS (SELECT 1) SELECT 2": "MessageAdd",
		"-- name: CartAdd :exec\nINSERT INTO cart VALUES ($1)":          "CartAdd",
		"-- name: CartDrop :exec\nDELETE FROM cart":                     "DELETE",
		"-- name: MessageAddX :one\nSELECT 1":                           "SELECT",
		"-- name: SELECT":                                               otherName,
		"-- name: ":                                                     otherName,
		"select 'begin'":                                                "SELECT",
		"\n\t /* a -- b */ -- c\r\n  (select 1)":                        "SELECT",
		"/* open":                                                       otherName,
		"--":                                                            otherName,
		"":                                                              otherName,
		"begin isolation level serializable":                            "BEGIN",
		"rollback to savepoint sp_1":                                    "ROLLBACK",
		"savepoint sp_1":                                                "SAVEPOINT",
		"selectx":                                                       otherName,
		"tango_uniform_42":                                              otherName,
		"üpdate":                                                        otherName,
	} {
		if got := names.of(sql); got != want {
			t.Errorf("%q is called %s, want %s", sql, got, want)
		}
	}
}

// Every statement in queries/ has its name, however it is made known.
func TestStatementsOfTheStore(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../queries/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of statements, %v", len(files), err)
	}
	names := newStatementNames(nil)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^-- name: (\w+) :\w+$`).FindAllStringSubmatch(string(text), -1) {
			found++
			if got := names.of(match[0] + "\nSELECT 1"); got != match[1] {
				t.Errorf("%s is called %s", match[1], got)
			}
		}
	}
	if found != len(names) {
		t.Errorf("%d statements in queries/, %d names", found, len(names))
	}
}
