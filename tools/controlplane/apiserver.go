package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// auditPolicy keeps who asked for what and how it ended, no bodies: enough to
// count requests by client.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// egressConfig sends what goes to nodes, pods and services through a proxy,
// which has to show this server's own certificate.
const egressConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: "https://%s"
        tlsConfig: {caBundle: %q, clientKey: %q, clientCert: %q}
`

// startAPIServer runs the API server and waits until it says that it is ready.
// Its admission plugins are the default ones, so ResourceQuota, LimitRanger,
// Priority, PodSecurity and the rest refuse here what they refuse elsewhere.
func (p *plane) startAPIServer(ctx context.Context, f flags, ended chan<- error) error {
	args := []string{
		"--etcd-servers=" + p.etcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.port),
		"--cert-dir=" + p.file("certs"),
		"--token-auth-file=" + p.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.file("sa.key"),
		"--service-account-signing-key-file=" + p.file("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--endpoint-reconciler-type=none",
		// Node names resolve nowhere here; logs, exec and port-forward need the address.
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + p.file("kubelet-client.crt"),
		"--kubelet-client-key=" + p.file("kubelet-client.key"),
	}
	more, err := p.optional(f)
	if err != nil {
		return err
	}
	o := options.NewServerRunOptions()
	if err := parse(o.Flags(), append(args, more...)...); err != nil {
		return err
	}
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if err := utilerrors.NewAggregate(completed.Validate()); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		err := apiserver.Run(ctx, completed)
		failed <- err
		ended <- err
	}()
	if err := p.awaitReady(ctx, failed); err != nil {
		return err
	}
	return os.WriteFile(p.file("internal.kubeconfig"), p.kubeconfig(), 0o600)
}

// optional gives the arguments for what f asks for beyond the plain server.
func (p *plane) optional(f flags) ([]string, error) {
	var args []string
	if f.auditLog != "" {
		policy := p.file("audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--audit-policy-file="+policy, "--audit-log-path="+f.auditLog,
			"--audit-log-maxsize=4096") // MB: a log that is moved away is one that readers lose
	}
	if f.proxy != "" {
		egress := p.file("egress.yaml")
		text := fmt.Appendf(nil, egressConfig, f.proxy, p.file("certs/apiserver.crt"), p.file("kubelet-client.key"), p.file("kubelet-client.crt"))
		if err := os.WriteFile(egress, text, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--egress-selector-config-file="+egress)
	}
	return args, nil
}

// awaitReady asks /readyz until it says yes, or the server has failed.
func (p *plane) awaitReady(ctx context.Context, failed <-chan error) error {
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(p.file("certs/apiserver.crt"))
	if err != nil {
		return err
	}
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url()+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("ended before it was ready: %w", err)
		case <-tick.C:
		}
	}
}
