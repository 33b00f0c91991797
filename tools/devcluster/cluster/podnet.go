package cluster

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// podNet stands in for the network of simulated pods: the API server's way to
// them, an HTTP CONNECT proxy, ends here. What is meant for a pod's address is
// answered by a handler; what is meant for loopback, where kwok is, goes there.
type podNet struct {
	pods  chan net.Conn
	ended chan struct{}
}

// startPodNet serves on loopback until Down and gives its address.
func (c *Cluster) startPodNet() (string, error) {
	n := &podNet{pods: make(chan net.Conn), ended: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	// It shows the certificate of the API server, which is there when that calls.
	cert := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.path("plane", "certs", "apiserver.crt"), c.path("plane", "certs", "apiserver.key"))
		return &pair, err
	}
	proxy := &http.Server{
		Handler:           n,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{GetCertificate: cert, NextProtos: []string{"http/1.1"}},
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	pods := &http.Server{Handler: c.options.Pods, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = proxy.ServeTLS(l, "", "") }()
	go func() { _ = pods.Serve(n) }()
	c.closers = append(c.closers, func() { _ = proxy.Close(); _ = pods.Close() })
	return l.Addr().String(), nil
}

// ServeHTTP answers one CONNECT.
func (n *podNet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil {
		http.Error(w, "CONNECT host:port only", http.StatusBadRequest)
		return
	}
	var onward net.Conn
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		if onward, err = net.DialTimeout("tcp", r.Host, 5*time.Second); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer onward.Close()
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	if onward == nil {
		n.give(podConn{conn, podAddr(r.Host)})
		return
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(onward, conn)
		_ = onward.Close()
	}()
	_, _ = io.Copy(conn, onward)
}

func (n *podNet) give(conn net.Conn) {
	select {
	case n.pods <- conn:
	case <-n.ended:
		_ = conn.Close()
	}
}

// Accept, Close and Addr make podNet the listener of all pods at once.
func (n *podNet) Accept() (net.Conn, error) {
	select {
	case conn := <-n.pods:
		return conn, nil
	case <-n.ended:
		return nil, net.ErrClosed
	}
}

func (n *podNet) Close() error {
	close(n.ended)
	return nil
}

func (n *podNet) Addr() net.Addr { return podAddr("pods") }

// podConn is a connection to a pod: its local address is the pod's.
type podConn struct {
	net.Conn
	pod podAddr
}

func (c podConn) LocalAddr() net.Addr { return c.pod }

// podAddr is IP:port of a simulated pod.
type podAddr string

func (podAddr) Network() string  { return "tcp" }
func (a podAddr) String() string { return string(a) }
