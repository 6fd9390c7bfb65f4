package count

import "testing"

func TestGroup(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Group(n); got != want {
			t.Errorf("Group(%d) = %q", n, got)
		}
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 sessions", 1: "1 session", 1000: "1,000 sessions"} {
		if got := Of(n, "session"); got != want {
			t.Errorf("Of(%d) = %q", n, got)
		}
	}
}
