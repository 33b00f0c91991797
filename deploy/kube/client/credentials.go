package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// PluginError says that the credential plugin of the kubeconfig gave no credentials.
type PluginError struct {
	Command string // as the kubeconfig has it
	Err     error
}

func (e *PluginError) Error() string {
	return fmt.Sprintf("the credential plugin %s of the kubeconfig: %s", e.Command, release.OneLine(e.Err.Error()))
}

func (e *PluginError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *PluginError) Hint() string {
	return "install " + e.Command + " or log in with it; `kubectl auth whoami` runs the same plugin, and what it writes to stderr stands above"
}

// CertificateError says that the API server and the caller could not agree on TLS: the
// certificates of the server or of the kubeconfig are not right.
type CertificateError struct {
	Host string
	Err  error
	hint string
}

func (e *CertificateError) Error() string {
	return fmt.Sprintf("no secure connection to cluster %s: %s", e.Host, release.OneLine(rootCause(e.Err)))
}

func (e *CertificateError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *CertificateError) Hint() string { return e.hint }

// pluginWording is how client-go begins what a credential plugin did wrong.
const pluginWording = "getting credentials: "

// misconfigured is a *PluginError or a *CertificateError if that is why a request was
// not answered: no time changes it. nil if it is not.
func (c *Client) misconfigured(err error) error {
	var request *url.Error
	if !errors.As(err, &request) {
		return nil
	}
	if said, found := strings.CutPrefix(request.Err.Error(), pluginWording); found {
		return &PluginError{Command: c.plugin, Err: errors.New(strings.TrimPrefix(said, "exec: "))}
	}
	if hint := certificateHint(request.Err); hint != "" {
		return &CertificateError{Host: c.host, Err: err, hint: hint}
	}
	return nil
}

// noTLS is how net/http words the answer of a server that speaks plain HTTP.
const noTLS = "server gave HTTP response to HTTPS client"

// certificateHint is what to do about a fault of TLS; empty if an error is none.
func certificateHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return "certificate-authority-data of the kubeconfig is not of the authority that signed the server's certificate: fetch the kubeconfig again; a proxy that opens TLS shows its own"
	case errors.As(err, &host):
		return "use the server's address that its certificate names, or set tls-server-name in the kubeconfig"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "have the server's certificate renewed; if it is not old, the clock of this machine is wrong"
	case errors.As(err, &invalid):
		return "have the server's certificate issued again"
	case errors.As(err, &alert) && alert.Op == "remote error": // an alert of TLS, by crypto/tls
		return "the server does not accept client-certificate-data of the kubeconfig, or misses it: log in again, or fetch the kubeconfig again"
	case errors.As(err, &record), strings.Contains(err.Error(), noTLS):
		return "does the server's address in the kubeconfig lead to the API server? A proxy, or a port without TLS, may stand there"
	}
	return ""
}
