package store

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// checkRefusal demands a ValidationError of this field and rule that does not repeat the value.
func checkRefusal(t *testing.T, err error, field, rule string) {
	t.Helper()
	var invalid *ValidationError
	if !errors.As(err, &invalid) || invalid.Field != field || invalid.Rule != rule {
		t.Errorf("error %v, want a ValidationError of %s, rule %s", err, field, rule)
	} else if invalid.Limit == "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %q has no limit or repeats the value", err)
	}
}

func TestValidateSessionID(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"session_0123456789abcdef":     true,
		"session_0000000000000000":     true,
		"session_0123456789abcdef\n":   false,
		"session_0123456789abcdeg":     false,
		"session_0123456789ABCDEF":     false,
		"session_0123456789abcde":      false,
		"session_0123456789abcdef0":    false,
		"Session_0123456789abcdef":     false,
		" session_0123456789abcde":     false,
		"session_0123456789abcd\u0660": false,
		"session_":                     false,
		"0123456789abcdef":             false,
		"":                             false,
	}
	for id, want := range cases {
		if got := ValidateSessionID(id); got != want {
			t.Errorf("ValidateSessionID(%q) = %v", id, got)
		}
		err := sessionIDInput(id)
		if want && err != nil {
			t.Errorf("sessionIDInput(%q) = %v", id, err)
		}
		if !want {
			checkRefusal(t, err, "session_id", "pattern")
		}
	}
}

func TestAgentIDInput(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"a": true, "Z": true, "7": true, "claude-3_5": true, "a" + strings.Repeat("-", 99): true,
		"": false, "-a": false, "_a": false, "a\n": false, "a b": false, "a.b": false, "é": false, "aé": false,
		"a@": false, "a[": false, "a`": false, "a{": false, "a\x00": false, "\xff": false, strings.Repeat("a", 101): false,
	}
	for id, want := range cases {
		err := agentIDInput("agent_id", id)
		if want && err != nil {
			t.Errorf("agentIDInput(%q) = %v", id, err)
		}
		if !want {
			checkRefusal(t, err, "agent_id", "pattern")
		}
	}
}

func TestTextInput(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, text, want string
		rule             string // of the refusal
	}{
		{"plain", "hello", "hello", ""},
		{"kept", "a\tb\nc\r\nd", "a\tb\nc\r\nd", ""},
		{"trimmed", " \t\u00a0\u3000hello there\u2028\n", "hello there", ""},
		{"NUL", "a\x00b", "ab", ""},
		{"controls", "\x01a\x08\x0b\x0c\x1b[0m\x1f\x7fb", "a[0mb", ""},
		{"C1", "a\u0080b\u0085c\u009f", "abc", ""},
		{"after C1", "\u00a1\u00c2\u0100", "\u00a1\u00c2\u0100", ""},
		{"white space behind a control", "\x00 a \x00", "a", ""},
		{"replacement character", "a\ufffd", "a\ufffd", ""},
		{"zero width", "\u200ba\ufeff", "\u200ba\ufeff", ""},
		{"longest", strings.Repeat("世", 10), strings.Repeat("世", 10), ""},
		{"longest after cleaning", " \x00" + strings.Repeat("🙂", 10) + "\x00 ", strings.Repeat("🙂", 10), ""},
		{"too long", strings.Repeat("世", 11), "", "length"},
		{"empty", "", "", "length"},
		{"white space only", " \n\u2003", "", "length"},
		{"controls only", "\x00\x01", "", "length"},
		{"invalid byte", "secret\xff", "", "utf8"},
		{"cut character", "secret\xe4\xb8", "", "utf8"},
		{"surrogate", "secret\xed\xa0\x80", "", "utf8"},
		{"overlong NUL", "\xc0\x80", "", "utf8"},
		{"lead byte at the end", "a\xc2", "", "utf8"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := textInput("content", c.text, 10)
			if c.name == "kept" || c.name == "trimmed" {
				got, err = textInput("content", c.text, 11)
			}
			if c.rule != "" {
				checkRefusal(t, err, "content", c.rule)
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got, err := optionalTextInput("resource", " \x00", 10); got != "" || err != nil {
		t.Errorf("optionalTextInput = %q, %v", got, err)
	}
	_, err := optionalTextInput("resource", strings.Repeat("a", 11), 10)
	checkRefusal(t, err, "resource", "length")
	_, err = textInput("content", strings.Repeat("é", MaxContentLength+1), MaxContentLength)
	want := "invalid content: length must be 1 to 100000 characters, got 100001 characters"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	_, err = textInput("content", "ab\xff", 10)
	if want := "invalid content: utf8 must be valid, got invalid byte 3"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestTextInputDoesNotAllocate(t *testing.T) {
	text := "  größer als\tnichts\n"
	if n := testing.AllocsPerRun(100, func() { _, _ = textInput("content", text, 100) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestKeyInput(t *testing.T) {
	t.Parallel()
	cases := []struct{ key, want, rule string }{
		{"state", "state", ""},
		{" state\x00 ", "state", ""},
		{"a/b:c-ü.🙂", "a/b:c-ü.🙂", ""},
		{strings.Repeat("ü", 255), strings.Repeat("ü", 255), ""},
		{strings.Repeat("ü", 256), "", "length"},
		{"", "", "length"},
		{"secret key", "", "pattern"},
		{"secret\tkey", "", "pattern"},
		{"secret\nkey", "", "pattern"},
		{"secret\u00a0key", "", "pattern"},
		{"\xff", "", "utf8"},
	}
	for _, c := range cases {
		got, err := keyInput("key", c.key)
		if got != c.want || (err == nil) != (c.rule == "") {
			t.Errorf("keyInput(%q) = %q, %v", c.key, got, err)
		}
		if c.rule != "" {
			checkRefusal(t, err, "key", c.rule)
		}
	}
}

func TestTypeInputs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		clean     func(string) (string, error)
		limit     int
		otherwise string
	}{
		"event_type":   {eventTypeInput, 100, ""},
		"message_type": {messageTypeInput, 50, "agent_response"},
		"sender_type":  {senderTypeInput, 50, "generic"},
	} {
		if got, err := c.clean(" tool\x00_result\n"); got != "tool_result" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := c.clean(strings.Repeat("é", c.limit)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := c.clean(strings.Repeat("é", c.limit+1))
		checkRefusal(t, err, name, "length")
		got, err := c.clean(" \x00 ")
		if c.otherwise == "" {
			checkRefusal(t, err, name, "length")
		} else if got != c.otherwise || err != nil {
			t.Errorf("%s: an empty one gives %q, %v", name, got, err)
		}
	}
}

func TestTTLInput(t *testing.T) {
	t.Parallel()
	if MaxTTL != 31_536_000*time.Second {
		t.Errorf("MaxTTL = %v", MaxTTL)
	}
	for in, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Microsecond, 1000: time.Microsecond, 1001: 2 * time.Microsecond, time.Hour: time.Hour, MaxTTL: MaxTTL,
	} {
		if got, err := ttlInput("ttl", in); got != want || err != nil {
			t.Errorf("ttlInput(%v) = %v, %v", in, got, err)
		}
	}
	for _, ttl := range []time.Duration{-1, MaxTTL + 1, math.MaxInt64, math.MinInt64} {
		_, err := ttlInput("ttl", ttl)
		checkRefusal(t, err, "ttl", "range")
	}
	for in, want := range map[int]time.Duration{0: 0, 1: time.Second, 31_536_000: MaxTTL} {
		if got, err := ttlSecondsInput("ttl", in); got != want || err != nil {
			t.Errorf("ttlSecondsInput(%v) = %v, %v", in, got, err)
		}
	}
	for _, seconds := range []int{-1, 31_536_001, math.MaxInt, math.MinInt} {
		_, err := ttlSecondsInput("ttl", seconds)
		checkRefusal(t, err, "ttl", "range")
	}
}

func TestRangeInput(t *testing.T) {
	t.Parallel()
	for _, v := range []int{1, 500, 1000} {
		if err := rangeInput("limit", v, 1, 1000); err != nil {
			t.Error(err)
		}
	}
	for _, v := range []int{0, -1, 1001, math.MaxInt} {
		err := rangeInput("limit", v, 1, 1000)
		checkRefusal(t, err, "limit", "range")
		if want := "invalid limit: must be 1 to 1000, got " + strconv.Itoa(v); err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

// checkCleanText demands what textInput promises, said in another way.
func checkCleanText(t interface{ Fatalf(string, ...any) }, in string, max int) {
	got, err := textInput("content", in, max)
	plain := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' {
			return -1
		}
		return r
	}, in))
	n := utf8.RuneCountInString(plain)
	if ok := utf8.ValidString(in) && 1 <= n && n <= max; ok != (err == nil) {
		t.Fatalf("textInput(%q, %d) = %q, %v", in, max, got, err)
	}
	if err != nil {
		return
	}
	if got != plain {
		t.Fatalf("textInput(%q) = %q, want %q", in, got, plain)
	}
	if again, err := textInput("content", got, max); err != nil || again != got {
		t.Fatalf("textInput(%q) = %q, and of that %q, %v", in, got, again, err)
	}
}

func TestTextInputProperty(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[ \t\n\x00-\x1f\x7f-\xa5世a]{0,40}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		checkCleanText(t, text.Draw(t, "text"), rapid.IntRange(1, 30).Draw(t, "max"))
	})
}

func FuzzTextInput(f *testing.F) {
	for _, text := range []string{
		"hello", " \u00a0trim\u3000", "a\x00b\x1b[0m", "\u0080\u0085\u009f\u00a0\u00a1", "\xc2", "\xc0\x80", "\xed\xa0\x80", "a\r\n\tb", "🙂世界",
	} {
		f.Add(text, uint8(9))
	}
	f.Fuzz(func(t *testing.T, text string, max uint8) {
		checkCleanText(t, text, int(max))
	})
}
