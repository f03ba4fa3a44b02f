package fakediscord

import "slices"

// Types of options that name a user.
const (
	optionUser        = 6
	optionMentionable = 9
)

// object returns the user as Discord sends it.
func (u User) object() map[string]any {
	return map[string]any{
		"id": u.ID, "username": u.Name, "global_name": u.Name, "discriminator": "0", "avatar": nil, "public_flags": 0,
	}
}

// member returns what Discord sends of any member beside the user.
func member() map[string]any {
	return map[string]any{
		"roles": []string{}, "permissions": "2147483647", "joined_at": "2020-05-01T00:00:00.000000+00:00",
		"nick": nil, "pending": false, "flags": 0,
	}
}

// resolved returns what Discord says of the users whom the options name, and of them as members of the guild; nil if it
// knows none.
func (i Interaction) resolved() map[string]any {
	users, members := map[string]any{}, map[string]any{}
	for _, id := range named(i.Options) {
		known := append(slices.Clone(i.Others), i.User)
		if n := slices.IndexFunc(known, func(u User) bool { return u.ID == id }); n >= 0 {
			users[id], members[id] = known[n].object(), member()
		}
	}
	switch {
	case len(users) == 0:
		return nil
	case i.Guild == "":
		return map[string]any{"users": users}
	}
	return map[string]any{"users": users, "members": members}
}

// named are the IDs in options that name a user, also in those of a subcommand.
func named(options []Option) (ids []string) {
	for _, o := range options {
		if id, ok := o.Value.(string); ok && (o.Type == optionUser || o.Type == optionMentionable) {
			ids = append(ids, id)
		}
		ids = append(ids, named(o.Options)...)
	}
	return ids
}
