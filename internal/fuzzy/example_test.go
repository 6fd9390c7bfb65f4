package fuzzy_test

import (
	"fmt"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

func ExampleScorer() {
	scorer := fuzzy.NewScorer("parsr error")
	for _, text := range []string{"the parser error is fixed", "parse errors", "release notes"} {
		fmt.Printf("%.1f %s\n", scorer.PartialRatio([]byte(text), 60), text)
	}
	// Output:
	// 90.9 the parser error is fixed
	// 90.9 parse errors
	// 0.0 release notes
}
