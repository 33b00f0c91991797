package cluster

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry serves an OCI registry on a free port of loopback, in this process,
// its blobs under dir, until close is called or ctx ends. Everybody may push
// and pull. Unlike registries elsewhere it shares blobs across repositories.
func Registry(ctx context.Context, dir string) (addr string, shut func(), err error) {
	open, err := newRegistry(dir)
	if err != nil {
		return "", nil, err
	}
	return serve(ctx, open)
}

// RegistryWithLogin is Registry for those who know the password; others get 401.
func RegistryWithLogin(ctx context.Context, dir string, who Login) (addr string, shut func(), err error) {
	open, err := newRegistry(dir)
	if err != nil {
		return "", nil, err
	}
	return serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(who.User+":"+who.Password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="shipit"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		open.ServeHTTP(w, r)
	}))
}

func newRegistry(dir string) (http.Handler, error) {
	blobs := filepath.Join(dir, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, err
	}
	return registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)),
		registry.WithReferrersSupport(true),
		registry.Logger(log.New(io.Discard, "", 0))), nil
}

func serve(ctx context.Context, h http.Handler) (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for the registry: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	return l.Addr().String(), func() { stop(); _ = server.Close() }, nil
}
