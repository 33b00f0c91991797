package main

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/functionserver"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// TestAStoryWithTheSDKOfInngest runs a story whose simulated pod answers with what a real
// worker answers, made with Inngest's SDK; the function server is a stand-in.
func TestAStoryWithTheSDKOfInngest(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("installs Inngest's SDK from npm and needs a control plane")
	}
	server := functionserver.Start(t)
	worker := server.StartWorker(t, functionserver.Install(t), map[string]string{"WORKER_ROLE": "cluster", "INNGEST_APP_ID": "system-bus-cluster", "INNGEST_SERVE_HOST": ""})
	server.Reach("inngest-cluster.inngest.svc:3111", "127.0.0.1:"+worker.Port)
	at := &url.URL{Scheme: "http", Host: "127.0.0.1:" + worker.Port}
	c, err := cluster.Up(t.Context(), cluster.Options{Progress: progressOf(t), Pods: httputil.NewSingleHostReverseProxy(at)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(context.Background())) })
	config, err := os.ReadFile("testdata/stories/sdk/inngest.yaml")
	require.NoError(t, err)
	g := ground{kubeconfig: c.Kubeconfig, client: clientOf(t, c.Kubeconfig), worker: at.String()}.withRegistry(t)
	g.run(t, "testdata/stories/sdk/inngest.txtar", strings.ReplaceAll(string(config), "${INNGEST}", server.URL))
}

// registerItself: the worker asks itself to register.
func (s *story) registerItself(ts *testscript.TestScript, _ bool, _ []string) {
	req, err := http.NewRequest(http.MethodPut, s.worker+"/api/inngest", http.NoBody)
	ts.Check(err)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	ts.Check(res.Body.Close())
}
