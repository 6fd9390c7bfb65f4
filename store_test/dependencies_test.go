package store_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a service links when it imports store: no driver for another database, nothing for tests, tools or commands.
func TestDependencies(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "../store")
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(output))
	slices.Sort(modules)
	want := []string{
		"github.com/golang-migrate/migrate/v4",
		"github.com/jackc/pgerrcode",
		"github.com/jackc/pgpassfile",
		"github.com/jackc/pgservicefile",
		"github.com/jackc/pgx/v5",
		"github.com/jackc/puddle/v2",
		"github.com/sharedcontext/sharedcontext/v2",
		"golang.org/x/sync",
		"golang.org/x/text",
	}
	if diff := cmp.Diff(want, slices.Compact(modules)); diff != "" {
		t.Errorf("modules (-want +got), also to be told in docs/dependencies.md:\n%s", diff)
	}
}
