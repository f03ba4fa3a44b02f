package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisTarget is the meaning of REDIS_URL. Exactly one field is set.
type redisTarget struct {
	single   *redis.Options
	cluster  *redis.ClusterOptions
	sentinel *redis.FailoverOptions
}

// String returns the addresses of Redis, without credentials.
func (t redisTarget) String() string {
	switch {
	case t.cluster != nil:
		return "cluster " + strings.Join(t.cluster.Addrs, ",")
	case t.sentinel != nil:
		return t.sentinel.MasterName + " at sentinels " + strings.Join(t.sentinel.SentinelAddrs, ",")
	default:
		return t.single.Addr
	}
}

// parseRedisURL reads REDIS_URL:
//
//	redis://user:password@host:6379/0, rediss:// with TLS, unix:///path?db=0
//	redis://user:password@a:6379,b:6379     a cluster; also redis://a,redis://b
//	redis+sentinel://user:password@s1:26379,s2:26379/master/0
//
// The credentials in the URL are those of Redis. The credentials of sentinels are the parameters sentinel_username and
// sentinel_password. All other parameters, such as pool_size, are those of go-redis. Errors never repeat the URL,
// because it may hold a password.
func parseRedisURL(raw string) (redisTarget, error) {
	t, err := readRedisURL(raw)
	if err != nil {
		return redisTarget{}, fmt.Errorf("REDIS_URL (--redis-url): %w", withoutURL(err))
	}
	return t, nil
}

func readRedisURL(raw string) (t redisTarget, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return t, errors.New("expected a URL such as redis://localhost:6379")
	}
	base, sentinel := strings.CutSuffix(scheme, "+sentinel")
	port := "6379"
	if sentinel {
		port = "26379"
	}
	switch scheme {
	case "unix":
		u, err := url.Parse(raw)
		if err != nil {
			return t, err
		}
		t.single, err = redis.ParseURL(raw)
		return t, withoutValues(u, err)
	case "redis", "rediss", "redis+sentinel", "rediss+sentinel":
	default:
		return t, fmt.Errorf("scheme %q: expected redis, rediss, unix, redis+sentinel or rediss+sentinel", scheme)
	}
	u, hosts, err := splitHosts(scheme, base, rest, port)
	switch {
	case err != nil:
	case sentinel:
		t.sentinel, err = parseSentinel(u, hosts)
	case len(hosts) > 1:
		t.cluster, err = parseCluster(u, hosts)
	default:
		if err = validDatabase(u.Path); err == nil {
			t.single, err = redis.ParseURL(u.String())
			err = withoutValues(u, err)
		}
	}
	return t, err
}

// validDatabase checks the number of the database. It does not repeat it: in a wrong URL it may be the password.
func validDatabase(path string) error {
	if db := strings.Trim(path, "/"); db != "" {
		if _, err := strconv.ParseUint(db, 10, 16); err != nil {
			return errors.New("expected the database as a number behind the address, such as redis://localhost:6379/0")
		}
	}
	return nil
}

// splitHosts splits a URL with several hosts, because net/url cannot parse it. The returned URL has only the first
// host. Every returned host has a port.
func splitHosts(scheme, base, rest, port string) (*url.URL, []string, error) {
	pieces := strings.Split(rest, ","+scheme+"://")
	authority, tail := pieces[0], ""
	if i := strings.IndexAny(authority, "/?"); i >= 0 {
		authority, tail = authority[:i], authority[i:]
	}
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i+1], authority[i+1:]
	}
	hosts := strings.Split(authority, ",")
	for _, piece := range pieces[1:] {
		u, err := url.Parse(base + "://" + piece)
		if err != nil {
			return nil, nil, err
		}
		hosts = append(hosts, u.Host)
	}
	for i, host := range hosts {
		u, err := url.Parse("tcp://" + host)
		if err != nil {
			return nil, nil, err
		}
		if u.Hostname() == "" {
			return nil, nil, errors.New("an address without a host")
		}
		if u.Port() == "" {
			hosts[i] = net.JoinHostPort(u.Hostname(), port)
		}
	}
	u, err := url.Parse(base + "://" + user + hosts[0] + tail)
	return u, hosts, err
}

func parseCluster(u *url.URL, hosts []string) (*redis.ClusterOptions, error) {
	if db := strings.Trim(u.Path, "/"); db != "" && db != "0" {
		return nil, errors.New("a cluster has only database 0")
	}
	setQuery(u, map[string][]string{"addr": hosts[1:]})
	o, err := redis.ParseClusterURL(u.String())
	if err == nil {
		namePerHost(o.TLSConfig)
	}
	return o, withoutValues(u, err)
}

// masterName is what Sentinel takes as the name of a master.
var masterName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func parseSentinel(u *url.URL, hosts []string) (*redis.FailoverOptions, error) {
	master, db, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return nil, errors.New("expected the master's name as the path, such as redis+sentinel://host:26379/mymaster")
	}
	if !masterName.MatchString(master) { // not repeated: without its "?", a query with a password looks like a name
		return nil, errors.New("the master's name in the path has other characters than letters, digits, '.', '-' and '_'; is a '?' missing?")
	}
	if err := validDatabase(db); err != nil {
		return nil, err
	}
	q := u.Query()
	set := map[string][]string{
		"addr": hosts[1:], "master_name": {master},
		"sentinel_username": nil, "sentinel_password": nil, // they become the credentials of the URL
	}
	if u.User != nil {
		password, _ := u.User.Password()
		set["username"], set["password"] = []string{u.User.Username()}, []string{password}
	}
	if name, password := q.Get("sentinel_username"), q.Get("sentinel_password"); name != "" || password != "" {
		u.User = url.UserPassword(name, password)
	} else {
		u.User = nil
	}
	u.Path = "/" + db
	setQuery(u, set)
	o, err := redis.ParseFailoverURL(u.String())
	if err == nil {
		namePerHost(o.TLSConfig)
	}
	return o, withoutValues(u, err)
}

// setQuery replaces parameters of u; nil removes one.
func setQuery(u *url.URL, set map[string][]string) {
	q := u.Query()
	for name, values := range set {
		if values == nil {
			q.Del(name)
		} else {
			q[name] = values
		}
	}
	u.RawQuery = q.Encode()
}

// namePerHost makes every connection check the certificate against the host that it dials, and not against the first
// host of the URL.
func namePerHost(c *tls.Config) {
	if c != nil {
		c.ServerName = ""
	}
}

// errURL replaces every error of net/url, because they repeat parts of the URL. Which part is the password is not known
// where the URL is wrong: an unescaped slash in a password makes its beginning a port.
var errURL = errors.New("not a valid URL; is a special character in the password not escaped, such as / (%2F), # (%23) or % (%25)?")

// withoutValues replaces an error of go-redis about a parameter of u, because it may repeat the value.
func withoutValues(u *url.URL, err error) error {
	if err == nil {
		return nil
	}
	ours := []string{"addr", "master_name", "username", "password"} // set by this file
	var names []string
	for name := range u.Query() {
		if strings.Trim(name, "_abcdefghijklmnopqrstuvwxyz") == "" && !slices.Contains(ours, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fmt.Errorf("go-redis does not know one of the parameters %s, or does not take its value", strings.Join(names, ", "))
}

// withoutURL replaces an error of net/url by errURL.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return errURL
	}
	return err
}

// newRedis makes a client. The client connects when it is first used. It holds at most the given number of connections,
// on a cluster to each node; 0 is the default of go-redis. The parameter pool_size of REDIS_URL takes precedence. The
// client does not tell Redis the name of its library: the command for it is new in Redis 7.2, and the rules of an older
// server cannot allow it.
func newRedis(t redisTarget, connections int) redis.UniversalClient {
	// Only Redis Enterprise sends maintenance notifications.
	noNotifications := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	const name = "arrakis"
	switch {
	case t.cluster != nil:
		t.cluster.ClientName, t.cluster.ContextTimeoutEnabled, t.cluster.DisableIdentity = name, true, true
		t.cluster.PoolSize = cmp.Or(t.cluster.PoolSize, connections)
		t.cluster.MaintNotificationsConfig = noNotifications
		return redis.NewClusterClient(t.cluster)
	case t.sentinel != nil:
		t.sentinel.ClientName, t.sentinel.ContextTimeoutEnabled, t.sentinel.DisableIdentity = name, true, true
		t.sentinel.PoolSize = cmp.Or(t.sentinel.PoolSize, connections)
		return redis.NewFailoverClient(t.sentinel)
	default:
		t.single.ClientName, t.single.ContextTimeoutEnabled, t.single.DisableIdentity = name, true, true
		t.single.PoolSize = cmp.Or(t.single.PoolSize, connections)
		t.single.MaintNotificationsConfig = noNotifications
		return redis.NewClient(t.single)
	}
}
