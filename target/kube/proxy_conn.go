package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// dial opens a connection to a port of a pod, as kubectl port-forward does: by
// the API server and the kubelet, so that it needs no way into the pod network
// and the pod sees plain bytes.
func (c *Cluster) dial(ctx context.Context, p *corev1.Pod, port int) (net.Conn, error) {
	address := c.typed.CoreV1().RESTClient().Post().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, address)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(address, c.config)
	if err != nil {
		return nil, err
	}
	// Some proxies before an API server let only web sockets through.
	dialer := portforward.NewFallbackDialer(plain, tunnel, func(err error) bool { return httpstream.IsUpgradeFailure(err) && ctx.Err() == nil })
	session, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, c.explain(err)
	}
	header := http.Header{}
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	header.Set(corev1.PortHeader, strconv.Itoa(port))
	header.Set(corev1.PortForwardRequestIDHeader, "0")
	faults, err := session.CreateStream(header)
	if err != nil {
		session.Close()
		return nil, fmt.Errorf("open a stream to port %d: %w", port, err)
	}
	_ = faults.Close() // nothing is written to it; it stays open for reading
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := session.CreateStream(header)
	if err != nil {
		session.Close()
		return nil, fmt.Errorf("open a stream to port %d: %w", port, err)
	}
	conn := &podConn{Stream: data, session: session, address: podAddress(p.Name + ":" + strconv.Itoa(port))}
	go conn.listen(faults)
	return conn, nil
}

// podConn is one connection to a pod.
type podConn struct {
	httpstream.Stream
	session httpstream.Connection
	address podAddress
}

// listen closes the connection when the kubelet reports a fault, such as a port
// that nobody listens on.
func (p *podConn) listen(faults io.Reader) {
	if text, err := io.ReadAll(faults); err == nil && len(text) > 0 {
		_ = p.session.Close()
	}
}

// Close ends the whole session: it carries this connection only.
func (p *podConn) Close() error {
	_ = p.Stream.Close()
	return p.session.Close()
}

func (p *podConn) LocalAddr() net.Addr  { return p.address }
func (p *podConn) RemoteAddr() net.Addr { return p.address }

// Deadlines are those of the request's context, which closes the connection.
func (p *podConn) SetDeadline(time.Time) error      { return nil }
func (p *podConn) SetReadDeadline(time.Time) error  { return nil }
func (p *podConn) SetWriteDeadline(time.Time) error { return nil }

type podAddress string

func (podAddress) Network() string  { return "pod" }
func (a podAddress) String() string { return string(a) }
