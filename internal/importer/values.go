package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	emptyText = "(empty)"
	// nameDigits are the digits that tell names apart which could not be kept. nameBytes is the longest name in bytes: three
	// of them fit into an entry of an index.
	nameDigits = 16
	nameBytes  = 800
)

// The seconds since 1970 of the years 1 to 9999.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
)

// cleanText returns a value as a text that PostgreSQL can hold, and the rules for that.
func cleanText(value legacy.Value) (string, []Rule) {
	text := value.Bytes
	var rules []Rule
	switch value.Kind {
	case legacy.Text:
		if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
			return text, nil
		}
	case legacy.Integer:
		return strconv.FormatInt(value.Int, 10), []Rule{RuleType}
	case legacy.Real:
		return realText(value.Real), []Rule{RuleType}
	case legacy.Blob:
		rules = append(rules, RuleType)
	}
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "")
		rules = append(rules, RuleNUL)
	}
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // a byte that is not part of a character becomes U+FFFD
		rules = append(rules, RuleUTF8)
	}
	return text, rules
}

// blank says whether nothing is left of a text when PostgreSQL trims it.
func blank(text string) bool { return strings.Trim(text, " ") == "" }

// cut returns the first characters of a text.
func cut(text string, max int) string {
	n := 0
	for i := range text {
		if n == max {
			return text[:i]
		}
		n++
	}
	return text
}

func convertText(value legacy.Value, c conversion) (string, []Rule) {
	text, rules := cleanText(value)
	if c.filled && blank(text) {
		return emptyText, append(rules, RuleEmpty)
	}
	if c.max > 0 && len(text) > c.max {
		if shorter := cut(text, c.max); shorter != text {
			text, rules = shorter, append(rules, RuleCut)
			if c.filled && blank(text) {
				return emptyText, append(rules, RuleEmpty)
			}
		}
	}
	return text, rules
}

// convertName returns a name as it is, or, where that cannot be, one that no other name becomes.
func convertName(value legacy.Value, c conversion) (string, []Rule) {
	text, rules := cleanText(value)
	if value.Kind == legacy.Null || c.filled && blank(text) {
		if c.null != "" {
			return c.null, append(rules, RuleNull)
		}
		text, rules = emptyText, append(rules, RuleEmpty)
	}
	if len(rules) == 0 && len(text) <= nameBytes && (len(text) <= c.max || utf8.RuneCountInString(text) <= c.max) {
		return text, nil
	}
	digest := sha256.Sum256([]byte(value.Kind.String() + " " + wholeValue(value)))
	kept := cut(text, c.max-1-nameDigits)
	for len(kept) > nameBytes-1-nameDigits {
		_, size := utf8.DecodeLastRuneInString(kept)
		kept = kept[:len(kept)-size]
	}
	return kept + "~" + hex.EncodeToString(digest[:])[:nameDigits], append(rules, RuleName)
}

// wholeValue returns all that makes a value what it is.
func wholeValue(value legacy.Value) string {
	switch value.Kind {
	case legacy.Integer:
		return strconv.FormatInt(value.Int, 10)
	case legacy.Real:
		return realText(value.Real)
	}
	return value.Bytes
}

func convertLevel(value legacy.Value) (string, []Rule) {
	if value.Kind == legacy.Null {
		return string(store.VisibilityPrivate), []Rule{RuleNull}
	}
	switch text := value.Bytes; store.Visibility(text) {
	case store.VisibilityPublic, store.VisibilityPrivate, store.VisibilityAgentOnly, store.VisibilityAdminOnly:
		if value.Kind == legacy.Text {
			return text, nil
		}
	}
	return string(store.VisibilityPrivate), []Rule{RuleLevel}
}

func convertBool(value legacy.Value) (bool, []Rule) {
	switch value.Kind {
	case legacy.Integer:
		if value.Int == 0 || value.Int == 1 {
			return value.Int == 1, nil
		}
		return true, []Rule{RuleBoolean}
	case legacy.Real:
		return value.Real != 0, []Rule{RuleBoolean}
	case legacy.Null:
		return false, []Rule{RuleNull} // the list of active sessions has always left it out
	}
	return false, []Rule{RuleBoolean}
}

// jsonRules are the rules for what canonical mends.
var jsonRules = []struct {
	mend canonical.Mend
	rule Rule
}{
	{canonical.MendNUL, RuleJSONNUL}, {canonical.MendSurrogate, RuleJSONHalf}, {canonical.MendDuplicate, RuleJSONKeys},
	{canonical.MendNumber, RuleJSONRange}, {canonical.MendControl, RuleJSONRaw},
}

func convertJSON(value legacy.Value) (canonical.Value, []Rule) {
	if value.Kind == legacy.Null {
		return canonical.Value{Null: true}, nil
	}
	text, rules := cleanText(value)
	if strings.TrimSpace(text) == "" {
		return canonical.Value{Null: true}, append(rules, RuleJSONEmpty)
	}
	mended, found, err := canonical.MendJSON(text)
	if err != nil {
		return canonical.Value{Text: canonical.QuoteJSON(text)}, append(rules, RuleNoJSON)
	}
	for _, r := range jsonRules {
		if found&r.mend != 0 {
			rules = append(rules, r.rule)
		}
	}
	return canonical.Value{Text: mended}, rules
}

// micros returns a time in microseconds since 1970, and whether the value is a time.
func micros(value legacy.Value) (int64, bool) {
	text := value.Bytes
	switch value.Kind {
	case legacy.Null:
		return 0, false
	case legacy.Integer:
		return value.Int * 1e6, firstSecond <= value.Int && value.Int <= lastSecond
	case legacy.Real:
		// Below this, what a float64 lacks in precision and what the product is rounded by is less than half a microsecond.
		if math.Abs(value.Real) < 1<<32 {
			return int64(math.RoundToEven(value.Real * 1e6)), true
		}
		text = realText(value.Real)
	}
	t, err := store.ConvertDatetime([]byte(strings.TrimSpace(text)))
	if err != nil {
		return 0, false
	}
	return t.Round(time.Microsecond).UnixMicro(), true
}

// realText writes a number with the digits that are needed to tell it from every other.
func realText(number float64) string { return strconv.FormatFloat(number, 'g', -1, 64) }
