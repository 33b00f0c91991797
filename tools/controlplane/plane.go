package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	cliflag "k8s.io/component-base/cli/flag"
)

// plane is one control plane: where it keeps its state and how it is reached.
type plane struct {
	dir     string
	port    int
	etcdURL string
	token   string
}

// newPlane takes the ports and makes what is missing of the credentials in dir.
func newPlane(dir string, port int) (*plane, error) {
	p := &plane{dir: dir, port: port}
	if p.port == 0 {
		free, err := freePort()
		if err != nil {
			return nil, err
		}
		p.port = free
	}
	return p, p.credentials()
}

func (p *plane) file(name string) string { return filepath.Join(p.dir, name) }

func (p *plane) url() string { return fmt.Sprintf("https://127.0.0.1:%d", p.port) }

// startEtcd runs etcd on two free ports of loopback, without waiting for the
// disk: a development cluster need not survive a power cut.
func (p *plane) startEtcd(ctx context.Context) (*embed.Etcd, error) {
	client, err := freeURL()
	if err != nil {
		return nil, err
	}
	peer, err := freeURL()
	if err != nil {
		return nil, err
	}
	c := embed.NewConfig()
	c.Dir = p.file("etcd")
	c.LogLevel = "error"
	c.UnsafeNoFsync = true
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		p.etcdURL = client.String()
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-ctx.Done():
		etcd.Close()
		return nil, ctx.Err()
	}
}

// publish gives the kubeconfig its name, in one step: who sees it may use it.
// The controllers go on using the file they were started with.
func (p *plane) publish() error {
	text, err := os.ReadFile(p.file("internal.kubeconfig"))
	if err != nil {
		return err
	}
	part := p.file("kubeconfig.part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, p.file("kubeconfig"))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func freeURL() (url.URL, error) {
	port, err := freePort()
	return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}, err
}

// parse sets a component's flags as its own command line would.
func parse(sets cliflag.NamedFlagSets, args ...string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, f := range sets.FlagSets {
		fs.AddFlagSet(f)
	}
	return fs.Parse(args)
}
