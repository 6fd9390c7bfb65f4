package store

import (
	"encoding/csv"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestUTCNow(t *testing.T) {
	t.Parallel()
	before := time.Now()
	now := UTCNow()
	if now.Location() != time.UTC || now.Nanosecond()%1000 != 0 || now != now.Round(0) {
		t.Errorf("UTCNow = %#v, want whole microseconds in UTC without a monotonic reading", now)
	}
	if d := now.Sub(before); d < -time.Microsecond || d > time.Minute {
		t.Errorf("UTCNow is %v away from the clock", d)
	}
	stamp, err := ParseUTCTimestamp(UTCTimestamp())
	if err != nil || stamp.Before(now) || stamp.Sub(now) > time.Minute {
		t.Errorf("UTCTimestamp reads as %v, %v", stamp, err)
	}
}

func TestAdaptDatetimeISO(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("", 2*60*60)
	cases := []struct {
		time time.Time
		want string
	}{
		{time.Date(2025, 8, 22, 23, 48, 35, 123456000, time.UTC), "2025-08-22T23:48:35.123456+00:00"},
		{time.Date(2025, 8, 22, 23, 48, 35, 0, time.UTC), "2025-08-22T23:48:35+00:00"},
		{time.Date(2025, 8, 22, 23, 48, 35, 999, time.UTC), "2025-08-22T23:48:35+00:00"},
		{time.Date(2025, 8, 22, 23, 48, 35, 100000999, time.UTC), "2025-08-22T23:48:35.100000+00:00"},
		{time.Date(2025, 8, 23, 1, 48, 35, 0, berlin), "2025-08-22T23:48:35+00:00"},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC), "1969-12-31T23:59:59.999999+00:00"},
		{time.Time{}, "0001-01-01T00:00:00+00:00"},
	}
	for _, c := range cases {
		if got := AdaptDatetimeISO(c.time); got != c.want {
			t.Errorf("AdaptDatetimeISO(%v) = %s, want %s", c.time, got, c.want)
		}
	}
}

// TestPython compares with what Python's datetime made of the same times.
func TestPython(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/isoformat.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.Comma, reader.LazyQuotes, reader.FieldsPerRecord = '\t', true, 3
	rows, err := reader.ReadAll()
	if err != nil || len(rows) < 300 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		if row[0] == "adapt" {
			micros, err := strconv.ParseInt(row[1], 10, 64)
			if got := AdaptDatetimeISO(time.UnixMicro(micros)); err != nil || got != row[2] {
				t.Errorf("adapt %s = %s, want %s", row[1], got, row[2])
			}
			continue
		}
		got := "refused"
		result, err := ConvertDatetime([]byte(row[1]))
		if row[0] == "parse" {
			result, err = ParseUTCTimestamp(row[1])
		}
		if err == nil {
			got = strconv.FormatInt(result.UnixMicro(), 10)
		}
		if got != row[2] {
			t.Errorf("%s %q = %s, want %s", row[0], row[1], got, row[2])
		}
	}
}

func TestParseUTCTimestamp(t *testing.T) {
	t.Parallel()
	at := func(nanosecond int) time.Time { return time.Date(2025, 8, 22, 23, 48, 35, nanosecond, time.UTC) }
	cases := []struct {
		text string
		want time.Time
	}{
		{"2025-08-22T23:48:35.123456+00:00", at(123456000)},
		{"2025-08-22T23:48:35.123456789Z", at(123456789)},
		{"2025-08-22t23:48:35,5z", at(500000000)},
		{"2025-08-23 01:48:35+02", at(0)},
		{"2025-08-23 01:48:35+0200", at(0)},
		{"2025-08-23 01:48:35+02:00", at(0)},
		{"2025-08-23 01:48:52+02:00:17", at(0)},
		{"2025-08-22 23:48:18-000017", at(0)},
		{"2025-08-22 23:48:35", at(0)},
		{"2025-08-22T23:48", time.Date(2025, 8, 22, 23, 48, 0, 0, time.UTC)},
		{"2025-08-22", time.Date(2025, 8, 22, 0, 0, 0, 0, time.UTC)},
	}
	for _, c := range cases {
		for name, read := range map[string]func(string) (time.Time, error){
			"ParseUTCTimestamp": ParseUTCTimestamp,
			"ConvertDatetime":   func(s string) (time.Time, error) { return ConvertDatetime([]byte(s)) },
		} {
			got, err := read(c.text)
			if err != nil || !got.Equal(c.want) || got.Location() != time.UTC {
				t.Errorf("%s(%q) = %v, %v; want %v", name, c.text, got, err, c.want)
			}
		}
	}
}

func TestTimestampRefused(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, rule string }{
		{"", "pattern"},
		{" 2025-08-22", "pattern"},
		{"2025-08-22\n", "pattern"},
		{"2025-08-22Z", "pattern"},
		{"2025-08-22  23:48:35", "pattern"},
		{"2025-08-22T23", "pattern"},
		{"2025-08-22T23:48.5", "pattern"},
		{"2025-08-22T23:48:35.1234567890", "pattern"},
		{"2025-08-22T23:48:35 Z", "pattern"},
		{"2025-08-22T23:48:35+02:0", "pattern"},
		{"2025-08-22T23:48:35+02:0000", "pattern"},
		{"2025-08-22T23:48:35+0200:00", "pattern"},
		{"2025-08-22T23:48:35+02:00:17.5", "pattern"},
		{"2025-08-22T23:48:35\u221202:00", "pattern"},
		{"２025-08-22", "pattern"},
		{"NaN", "pattern"},
		{"inf", "pattern"},
		{"-Infinity", "pattern"},
		{"0x10", "pattern"},
		{"1_000", "pattern"},
		{"1e", "pattern"},
		{".", "pattern"},
		{"-", "pattern"},
		{"--1", "pattern"},
		{"1.2.3", "pattern"},
		{" 1", "pattern"},
		{"\xff", "pattern"},
		{"2025-08-22T24:00:00", "range"},
		{"2025-08-22T23:48:60", "range"},
		{"2025-02-30", "range"},
		{"0000-12-31", "range"},
		{"0000-12-31T23:59:00-12:00", "range"},
		{"2025-08-22T23:48:35+00:60", "range"},
		{"1e400", "range"},
		{"1e-401", "range"},
		{"1e99999999999999999999", "range"},
		{strings.Repeat("9", 100_000), "range"},
		{"1e400000000", "range"},
	}
	for _, c := range cases {
		got, err := ConvertDatetime([]byte(c.text))
		var invalid *ValidationError
		if !errors.As(err, &invalid) || invalid.Field != "timestamp" || invalid.Rule != c.rule || !got.IsZero() {
			t.Errorf("ConvertDatetime(%.60q) = %v, %v; want the rule %s", c.text, got, err, c.rule)
		}
		if _, err := ParseUTCTimestamp(c.text); err == nil {
			t.Errorf("ParseUTCTimestamp(%.60q) accepts it", c.text)
		}
	}
	if _, err := ParseUTCTimestamp("1755906515"); err == nil {
		t.Error("ParseUTCTimestamp reads Unix seconds")
	}
}

func TestTimestampErrorNamesTheInput(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, want string }{
		{"yesterday", `invalid timestamp: must be an ISO 8601 date or date and time such as ` +
			`2025-08-22T23:48:35.123456+00:00, got "yesterday"`},
		{"2025-02-30", `invalid timestamp: must be a time that exists, in the years 1 to 9999, got "2025-02-30"`},
		{strings.Repeat("ü\n", 1000), `got "` + strings.Repeat(`ü\n`, 20) + `"…`},
	}
	for _, c := range cases {
		_, err := ParseUTCTimestamp(c.text)
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

func TestTimestampRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.Int64Range(minUnixMicro, maxUnixMicro).Draw(t, "micros")
		zone := time.FixedZone("", 60*rapid.IntRange(-1439, 1439).Draw(t, "zone"))
		nanos := rapid.Int64Range(0, 999).Draw(t, "nanos")
		want := time.UnixMicro(micros).UTC()
		in := want.Add(time.Duration(nanos)).In(zone)
		if got, err := ParseUTCTimestamp(AdaptDatetimeISO(in)); err != nil || got != want {
			t.Fatalf("%v reads as %v, %v", in, got, err)
		}
		if in.Year() >= 1 && in.Year() <= 9999 {
			if got, err := ParseUTCTimestamp(in.Format("2006-01-02 15:04:05.999999-07:00")); err != nil || got != want {
				t.Fatalf("%v with its offset reads as %v, %v", in, got, err)
			}
		}
		sign := ""
		if micros < 0 {
			sign, micros = "-", -micros
		}
		seconds := sign + strconv.FormatInt(micros/1e6, 10) + "." + strconv.FormatInt(1e6+micros%1e6, 10)[1:]
		if got, err := ConvertDatetime([]byte(seconds)); err != nil || got != want {
			t.Fatalf("%s reads as %v, %v", seconds, got, err)
		}
	})
}

func FuzzParseUTCTimestamp(f *testing.F) {
	for _, text := range []string{
		"2025-08-22T23:48:35.123456+00:00", "2025-08-22 23:48:35,1z", "2025-08-22", "2024-02-29T00:00-23:59:59", "1755906515.123456",
		"-6.21355968e10", "253402300799.9999995", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999999", "NaN", "1e400",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ConvertDatetime([]byte(text))
		if err != nil {
			var invalid *ValidationError
			if !errors.As(err, &invalid) || invalid.Field != "timestamp" || len(err.Error()) > 600 {
				t.Fatalf("%v (%T)", err, err)
			}
			return
		}
		if got.Location() != time.UTC || got.Year() < 1 || got.Year() > 9999 {
			t.Fatalf("%q = %v", text, got)
		}
		want := got.Truncate(time.Microsecond)
		if again, err := ParseUTCTimestamp(AdaptDatetimeISO(got)); err != nil || !again.Equal(want) {
			t.Fatalf("%q = %v, and again %v, %v", text, got, again, err)
		}
		if parsed, err := ParseUTCTimestamp(text); err == nil && parsed != got {
			t.Fatalf("%q = %v and %v", text, got, parsed)
		}
	})
}
