package telemetry_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a service links for telemetry beside the store: the API of OpenTelemetry, not its SDK, and nothing for tests.
func TestDependencies(t *testing.T) {
	t.Parallel()
	list := func(what string) []string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", what)
		output, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		modules := strings.Fields(string(output))
		slices.Sort(modules)
		return slices.Compact(modules)
	}
	ofStore := list("github.com/sharedcontext/sharedcontext/v2/store")
	for _, module := range list(".") {
		known := slices.ContainsFunc([]string{
			"github.com/sharedcontext/", "github.com/exaring/otelpgx", "github.com/go-logr/", "go.opentelemetry.io/otel", "go.opentelemetry.io/auto/sdk",
			"github.com/prometheus/", "github.com/beorn7/perks", "github.com/cespare/xxhash/", "github.com/munnerz/goautoneg",
			"google.golang.org/protobuf", "golang.org/x/sys",
		}, func(prefix string) bool { return strings.HasPrefix(module, prefix) })
		if module == "go.opentelemetry.io/otel/sdk" || !known && !slices.Contains(ofStore, module) {
			t.Errorf("a service that imports telemetry links %s", module)
		}
	}
}
