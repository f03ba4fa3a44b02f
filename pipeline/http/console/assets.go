package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"arrakis/pipeline/http/problem"
)

//go:embed assets
var assetFiles embed.FS

// assets are the files that pages load. Their address has a hash of all of them, so that browsers keep them for good and
// the modules that import each other are always of one version.
type assets struct {
	prefix string // "/assets/HASH/"
	files  map[string]*asset
}

// asset is one file. Its two forms are made once.
type asset struct {
	media        string
	plain, gzip  []byte
	etag, gzETag string
}

// newAssets reads the embedded files. It panics on a file of an unknown kind, which a test would find.
func newAssets() *assets {
	a := &assets{files: make(map[string]*asset)}
	all := sha256.New()
	err := fs.WalkDir(assetFiles, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "assets/")
		all.Write([]byte(name))
		all.Write(data)
		a.files[name] = newAsset(name, data)
		return nil
	})
	if err != nil {
		panic("console: embedded files cannot be read: " + err.Error())
	}
	a.prefix = "/assets/" + hex.EncodeToString(all.Sum(nil)[:8]) + "/"
	return a
}

func newAsset(name string, data []byte) *asset {
	f := &asset{plain: data}
	switch path.Ext(name) {
	case ".js":
		f.media = "text/javascript; charset=utf-8"
	case ".css":
		f.media = "text/css; charset=utf-8"
	case ".svg":
		f.media = "image/svg+xml"
	default:
		f.media = "text/plain; charset=utf-8"
	}
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // a valid level
	_, _ = w.Write(data)                                       // into memory
	_ = w.Close()
	f.gzip = zipped.Bytes()
	digest := sha256.Sum256(data)
	hash := hex.EncodeToString(digest[:16])
	f.etag, f.gzETag = `"`+hash+`"`, `"`+hash+`-gz"`
	return f
}

// path is the address of a file. It panics for one that does not exist.
func (a *assets) path(name string) string {
	if a.files[name] == nil {
		panic("console: no asset " + name)
	}
	return a.prefix + name
}

// serve answers with a file. Under the hash of another version, which a page that is older or newer than this process
// asks for, it is the file of this version and must not be kept.
func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	_, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/assets/"), "/")
	f := a.files[name]
	if f == nil {
		_ = problem.NotFound(r).Write(w) // an error only means that the client is gone
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(r.URL.Path, a.prefix) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", f.media)
	h.Set("Vary", "Accept-Encoding")
	body, etag := f.plain, f.etag
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = f.gzip, f.gzETag
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error only means that the client is gone
	}
}

// acceptsGzip reports whether the client takes gzip, which browsers say in so many words.
func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if name == "gzip" {
			return strings.ReplaceAll(parameters, " ", "") != "q=0"
		}
	}
	return false
}
