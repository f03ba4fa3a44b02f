package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Version identifies the state of a document, and serves as a strong ETag. Two states of a document with the same version
// are equal, byte for byte. It is a number that rises with each change where PostgreSQL is the system of record, and
// otherwise 32 hexadecimal digits, a hash of the document. The empty string is not a version.
type Version string

// NumberedVersion is the version of the n-th state of a document, counted from 1.
func NumberedVersion(n int64) Version { return Version(strconv.FormatInt(n, 10)) }

// Stored is what is stored of a document.
type Stored struct {
	Text    string  // the document as JSON; "": there is none
	Version Version // "" if there is no document

	raw     string // the text as Redis has it
	deleted string // the number of the state in which a copy was deleted; "": there is a document, or Redis does not know
}

// Number says which state of a document Redis has: that it has the copy of, or, if it has none, the one in which it was
// deleted. It is 0 if Redis does not know.
func (s Stored) Number() int64 {
	if number := cmp.Or(s.deleted, string(s.Version)); len(number) < 20 { // else it is a hash, which may have decimal digits alone
		n, _ := strconv.ParseInt(number, 10, 64) // 0 for what is no number
		return n
	}
	return 0
}

// Exists reports whether there is a document.
func (s Stored) Exists() bool { return s.Text != "" }

// numbered begins the text in Redis of a document that the system of record numbers.
const numbered = `{"version":`

// withNumber is the text that Redis gets of the n-th state of a document, a JSON object: the number is its first member,
// where a script finds it. Space in front of the first member is left out.
func withNumber(text string, n int64) string {
	const space = " \t\r\n"
	members := strings.TrimLeft(strings.TrimPrefix(strings.TrimLeft(text, space), "{"), space)
	if members != "}" {
		members = "," + members
	}
	return numbered + strconv.FormatInt(n, 10) + members
}

// storedIn reads a text that Redis has.
func storedIn(text string) Stored {
	rest, ok := strings.CutPrefix(text, numbered)
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	if ok && digits > 0 && digits < len(rest) {
		number := Version(rest[:digits])
		switch rest = rest[digits:]; rest[0] {
		case ',':
			return Stored{Text: "{" + rest[1:], Version: number, raw: text}
		case '}':
			return Stored{Text: "{" + rest, Version: number, raw: text}
		}
	}
	sum := sha256.Sum256([]byte(text))
	return Stored{Text: text, Version: Version(hex.EncodeToString(sum[:16])), raw: text}
}

// versionOf is the version of a text that Redis has.
func versionOf(text string) Version { return storedIn(text).Version }
