package streams

import "strings"

// covers reports whether filter matches every subject that subject matches. Both may have the wildcards of NATS.
func covers(filter, subject string) bool {
	for {
		f, moreFilter, filterGoesOn := strings.Cut(filter, ".")
		s, moreSubject, subjectGoesOn := strings.Cut(subject, ".")
		switch {
		case f == ">":
			return true
		case s == ">", f != "*" && f != s:
			return false
		case filterGoesOn != subjectGoesOn:
			return false
		case !filterGoesOn:
			return true
		}
		filter, subject = moreFilter, moreSubject
	}
}

// unread returns those of the subjects that no filter covers. If all subjects are covered, no message can stay unread.
func unread(subjects, filters []string) []string {
	var left []string
	for _, subject := range subjects {
		if !coveredBy(filters, subject) {
			left = append(left, subject)
		}
	}
	return left
}

func coveredBy(filters []string, subject string) bool {
	for _, filter := range filters {
		if covers(filter, subject) {
			return true
		}
	}
	return false
}

// overlap reports whether a subject matches one of the filters of a and one of b.
func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if meet(x, y) {
				return true
			}
		}
	}
	return false
}

// meet reports whether a subject matches both filters.
func meet(x, y string) bool {
	for {
		a, moreX, xGoesOn := strings.Cut(x, ".")
		b, moreY, yGoesOn := strings.Cut(y, ".")
		switch {
		case a == ">" || b == ">":
			return true
		case a != b && a != "*" && b != "*", xGoesOn != yGoesOn:
			return false
		case !xGoesOn:
			return true
		}
		x, y = moreX, moreY
	}
}
