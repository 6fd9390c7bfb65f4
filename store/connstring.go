package store

import (
	"cmp"
	"errors"
	"regexp"
	"strings"
)

// A connSetting is one name and value of a connection string, decoded but not yet understood.
type connSetting struct {
	name, value string
	// inURL is set for what the part of a URL before "?" says. As in libpq, a query parameter of the same name replaces it.
	inURL bool
}

// The errors of the two parsers below say what is wrong and never repeat the input: in a malformed connection string a
// piece of the password can stand anywhere, so no piece of it is safe to show.
var (
	errConnStringNUL   = errors.New("contains a NUL byte")
	errConnStringQuote = errors.New("is wrapped in quotation marks: remove them")
	errConnStringForm  = errors.New("is neither a URL such as postgresql://user:password@host:5432/database " +
		"nor a keyword string such as host=… user=… password=… dbname=…")
	errURLAt = errors.New("has an @ or a / in the wrong place, so that user, password and host cannot be told apart; " +
		"inside user, password and parameters write @ as %40, / as %2F, : as %3A and ? as %3F")
	errURLPercent   = errors.New("has a % that two hexadecimal digits do not follow; write % itself as %25")
	errURLBracket   = errors.New("has an IPv6 host whose brackets are empty, not closed, or followed by something else than a port")
	errURLPair      = errors.New(`has a query parameter without "="`)
	errKeywordPair  = errors.New(`is not a sequence of keyword=value pairs; put a value that contains spaces in single quotes, and write ' and \ inside it as \' and \\`)
	errKeywordQuote = errors.New("has a single quote that is not closed")
)

var (
	schemePattern = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	// keywordPattern recognizes the beginning of a keyword string, as libpq understands it.
	keywordPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*[ \t\n\r\v\f]*=`)
)

const connStringSpace = " \t\n\r\v\f"

// connStringScheme returns the scheme of s in lower case, "" when s is not a URL.
func connStringScheme(s string) string {
	m := schemePattern.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	return strings.ToLower(m[1])
}

// splitConnString takes a URL or a keyword string apart, with names and values in the order in which they stand.
func splitConnString(s string) ([]connSetting, error) {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return nil, errConnStringNUL
	case connStringScheme(s) != "":
		_, rest, _ := strings.Cut(s, "://")
		return splitURL(rest)
	case keywordPattern.MatchString(s):
		return splitKeywords(s)
	case len(s) > 1 && strings.Contains(`"'`, s[:1]) && s[0] == s[len(s)-1]:
		return nil, errConnStringQuote
	default:
		return nil, errConnStringForm
	}
}

// splitURL takes apart what follows "scheme://". It reads as libpq does and not as net/url: there may be several hosts
// with a port each, percent-encoding is allowed everywhere, and "+" and "#" are ordinary characters. More than libpq it
// lets the value of a query parameter contain "=" and spaces, and ignores an empty pair.
//
// libpq ends the user and password at the first @ before a /, SQLAlchemy at the first @ at all. With one @ in the whole
// URL, standing before the first /, both mean the same; anything else is refused. That rule is also what makes
// redaction certain: the password is known to the last byte.
func splitURL(rest string) ([]connSetting, error) {
	var settings []connSetting
	add := func(name, raw string, inURL bool) error {
		value, err := percentDecode(raw)
		settings = append(settings, connSetting{name, value, inURL})
		return err
	}

	var errs []error
	if userinfo, after, found := strings.Cut(rest, "@"); found {
		if strings.Contains(userinfo, "/") || strings.Contains(after, "@") || hidesQuery(userinfo) {
			return nil, errURLAt
		}
		rest = after
		user, password, hasPassword := strings.Cut(userinfo, ":")
		if user != "" {
			errs = append(errs, add("user", user, true))
		}
		if hasPassword {
			errs = append(errs, add("password", password, true))
		}
	}

	authority, query, hasQuery := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(authority, "/")
	hosts, ports, err := splitHosts(authority)
	if err != nil {
		return nil, err
	}
	if hosts != "" {
		errs = append(errs, add("host", hosts, true))
	}
	if strings.Trim(ports, ",") != "" {
		errs = append(errs, add("port", ports, true))
	}
	if database != "" {
		errs = append(errs, add("dbname", database, true))
	}
	if hasQuery {
		for pair := range strings.SplitSeq(query, "&") {
			if pair == "" {
				continue
			}
			rawName, rawValue, found := strings.Cut(pair, "=")
			if !found {
				return nil, errURLPair
			}
			name, err := percentDecode(rawName)
			errs = append(errs, err, add(name, rawValue, false))
		}
	}
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	return settings, nil
}

// hidesQuery reports whether userinfo looks like a host and the beginning of a query, as in host:5432?password=a@b: libpq
// would take the b for the host. A lone "?" in a password is fine.
func hidesQuery(userinfo string) bool {
	before, query, found := strings.Cut(userinfo, "?")
	return found && (!strings.Contains(before, ":") || strings.Contains(query, "="))
}

// splitHosts turns "h1:1,[::1]:2,h3" into "h1,::1,h3" and "1,2,": the two aligned lists that libpq makes of it.
func splitHosts(authority string) (hosts, ports string, err error) {
	var hostList, portList []string
	for {
		var host, port string
		if bracketed, ok := strings.CutPrefix(authority, "["); ok {
			inside, after, closed := strings.Cut(bracketed, "]")
			if !closed || inside == "" || (after != "" && after[0] != ':' && after[0] != ',') {
				return "", "", errURLBracket
			}
			host, authority = inside, after
		} else {
			end := strings.IndexAny(authority+",", ":,")
			host, authority = authority[:end], authority[end:]
		}
		if after, ok := strings.CutPrefix(authority, ":"); ok {
			end := strings.IndexByte(after+",", ',')
			port, authority = after[:end], after[end:]
		}
		hostList, portList = append(hostList, host), append(portList, port)
		after, more := strings.CutPrefix(authority, ",")
		if !more {
			return strings.Join(hostList, ","), strings.Join(portList, ","), nil
		}
		authority = after
	}
}

// percentDecode decodes %XX and nothing else: "+" stays a plus sign, as in libpq and in the path of any URL.
func percentDecode(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errURLPercent
		}
		high, ok1 := unhex(s[i+1])
		low, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return "", errURLPercent
		}
		if high == 0 && low == 0 {
			return "", errConnStringNUL
		}
		b.WriteByte(high<<4 | low)
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// percentEncode is the inverse of percentDecode for a part of a URL that may contain the bytes of keep.
func percentEncode(s, keep string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~"+keep, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// splitKeywords takes a libpq keyword string apart: https://www.postgresql.org/docs/current/libpq-connect.html
// #LIBPQ-CONNSTRING-KEYWORD-VALUE.
func splitKeywords(s string) ([]connSetting, error) {
	var settings []connSetting
	for s = strings.TrimLeft(s, connStringSpace); s != ""; s = strings.TrimLeft(s, connStringSpace) {
		name, rest, found := strings.Cut(s, "=")
		name = strings.TrimRight(name, connStringSpace)
		if !found || name == "" || strings.ContainsAny(name, connStringSpace) {
			return nil, errKeywordPair
		}
		value, after, err := keywordValue(strings.TrimLeft(rest, connStringSpace))
		if err != nil {
			return nil, err
		}
		settings = append(settings, connSetting{name: name, value: value})
		s = after
	}
	return settings, nil
}

// keywordValue reads one value, quoted or not, and returns what follows it. A backslash takes the next byte literally.
func keywordValue(s string) (value, after string, err error) {
	s, quoted := strings.CutPrefix(s, "'")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(connStringSpace, c) >= 0:
			return b.String(), s[i:], nil
		case c == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errKeywordQuote
	}
	return b.String(), "", nil
}

// quoteKeywordValue writes value so that every libpq parser reads it back byte by byte.
func quoteKeywordValue(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
