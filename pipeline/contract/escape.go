package contract

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escape checks the escape sequence that text begins with and returns its length. A surrogate pair is one sequence of
// 12 bytes.
func escape(text string) (int, error) {
	if len(text) < 2 {
		return 0, errTruncated
	}
	if strings.IndexByte(`"\/bfnrt`, text[1]) >= 0 {
		return 2, nil
	}
	if text[1] != 'u' {
		return 0, errEscape
	}
	r, ok := hex4(text)
	switch {
	case !ok:
		return 0, errEscape
	case !utf16.IsSurrogate(r):
		return 6, nil
	}
	low, ok := hex4(text[6:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0, errSurrogate
	}
	return 12, nil
}

// hex4 reads the code unit of a \uXXXX that text begins with.
func hex4(text string) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(text[2:6]) {
		if ('0' > c || c > '9') && ('a' > c || c > 'f') && ('A' > c || c > 'F') {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(text[2:6], 16, 16)
	return rune(v), err == nil
}

// unescape replaces the escapes in raw by the characters that they stand for. raw is a result of str, and so is valid.
func unescape(raw string) string {
	i := strings.IndexByte(raw, '\\')
	if i < 0 {
		return raw
	}
	var b strings.Builder
	b.Grow(len(raw))
	for i >= 0 {
		b.WriteString(raw[:i])
		raw = raw[i:]
		if raw[1] != 'u' {
			b.WriteByte("\"\\/\b\f\n\r\t"[strings.IndexByte(`"\/bfnrt`, raw[1])])
			raw = raw[2:]
		} else {
			r, _ := hex4(raw)
			n := 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[6:])
				r, n = utf16.DecodeRune(r, low), 12
			}
			b.WriteRune(r)
			raw = raw[n:]
		}
		i = strings.IndexByte(raw, '\\')
	}
	b.WriteString(raw)
	return b.String()
}
