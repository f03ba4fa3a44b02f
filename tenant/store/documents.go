package store

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// Documents are the documents that say what one community may do. They are shared and must not be changed.
type Documents struct {
	tenant.Documents
	Flags *tenant.Flags
	// Unusable are the keys of documents that cannot be used. In their place are the last usable ones that this store has
	// seen, or none.
	Unusable []string
}

// numReads is the number of commands that read the documents of one community, but for its account.
const numReads = 3

// DocumentReads are the commands that read the documents of the community id, each with its key, for a caller that sends
// them in a round trip of its own. The account is not among them: the config names it, see [Store.SetAccount].
func DocumentReads(id string) [numReads]struct{ Command, Key string } {
	return [...]struct{ Command, Key string }{{"get", configPrefix + id}, {"get", tiersKey}, {"hgetall", flagsKey}}
}

// Documents returns the documents that Redis has sent in reply to [DocumentReads]. They are those that this process has
// in force, or will have within a second. An error is Redis's.
func (s *Store) Documents(ctx context.Context, id string, replies [numReads]*redis.Cmd) (Documents, error) {
	for i, read := range DocumentReads(id) {
		if err := replies[i].Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, wrongType) {
			return Documents{}, fmt.Errorf("read %s: %w", read.Key, err)
		}
	}
	var d Documents
	var config *string
	if text, err := replies[0].Text(); err == nil { // as Load does, a key of another type counts as absent
		config = &text
	}
	var usable bool
	if d.Config, usable = s.configs.read(ctx, configPrefix+id, config); !usable {
		d.Unusable = append(d.Unusable, configPrefix+id)
	}
	if d.Tiers, usable = s.tiersOf(ctx, replies[1]); !usable {
		d.Unusable = append(d.Unusable, tiersKey)
	}
	if texts, usable := textsOf(replies[2]); usable {
		flags, unusable := s.flagsOf(ctx, texts)
		d.Flags, d.Unusable = flags, append(d.Unusable, unusable...)
	} else {
		d.Flags, d.Unusable = s.flagSet.Load(), append(d.Unusable, flagsKey)
	}
	return d, nil
}

// textsOf returns the texts in the reply to HGETALL of the flags, with RESP 2 or 3. It returns false if the key is not a
// hash, or has too many flags.
func textsOf(reply *redis.Cmd) (texts map[string]string, usable bool) {
	texts = make(map[string]string)
	switch all := reply.Val().(type) {
	case map[any]any:
		for id, text := range all {
			texts[fmt.Sprint(id)] = fmt.Sprint(text)
		}
	case []any:
		for i := 0; i+1 < len(all); i += 2 {
			texts[fmt.Sprint(all[i])] = fmt.Sprint(all[i+1])
		}
	}
	usable = reply.Err() == nil && checkFlags(int64(len(texts))) == nil
	maps.DeleteFunc(texts, func(id, _ string) bool { return !tenant.ValidFlagID(id) })
	return texts, usable
}
