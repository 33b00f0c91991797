package main

import (
	"context"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	kubeclient "github.com/joelhooks/shipit/deploy/kube/client"
	kubestore "github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/internal/faults"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/tools/devhost"
)

// situations are those of docs/runbook.md, by their heading.
func situations() map[string]situation {
	return map[string]situation{
		"Roll out":                {make: (*walk).sound},
		"Roll back":               {make: (*walk).sound},
		"Failed and restored":     {make: func(*walk) {}},
		"Failed and not restored": {make: (*walk).clusterAwayDuringARollout},
		"Drift":                   {make: (*walk).changedByHand},
		"Killed run":              {make: (*walk).killedOnTheWay},
		"Lock held":               {make: (*walk).heldBySomebody},
		"Registry away":           {make: (*walk).registryAway},
		"Sigstore away":           {make: (*walk).sigstoreAway},
		"Cluster lost":            {make: (*walk).clusterLost},
		"Host lost":               {skip: devhost.Skip, make: (*walk).hostLost},
		"A role's secret rotated": {skip: noKubectl, make: (*walk).secretRotated},
		"A host's secret rotated": {skip: devhost.Skip, make: (*walk).hostSecretRotated},
		"Signing key rotated":     {make: (*walk).signingKeyRotated},
		"Retire a role":           {make: (*walk).roleRetired},
	}
}

// sound makes HEAD a third edition that works.
func (w *walk) sound() {
	w.repo.Commit("third edition", map[string]string{
		"shipit.yaml":                      strings.NewReplacer("crash-on-boot", `""`, "    entrypoint:", "    prove: {skip: true}\n    entrypoint:").Replace(w.repo.Read("shipit.yaml")),
		"packages/system-bus/src/serve.ts": w.repo.Read("packages/system-bus/src/serve.ts") + "\n// third edition\n",
	})
	w.repo.Git("tag", "-f", "v3.0.0")
}

// clusterAwayDuringARollout has the API server answer no more once the release is being
// applied, until the next command.
func (w *walk) clusterAwayDuringARollout() {
	w.sound()
	w.before[1] = func() { w.api.Have(&faults.Rule{Fault: faults.BadGateway, Match: afterTheFirstApply()}) }
	w.before[2] = func() { w.api.Have(nil); w.awaitPods() }
}

// awaitPods waits until the Deployment is as its controller has been told, and no other pod is there.
func (w *walk) awaitPods() {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		d, err := w.g.client.AppsV1().Deployments(w.namespace()).Get(context.Background(), w.namespace()+"-cluster", metav1.GetOptions{})
		require.NoError(w.t, err)
		pods, err := w.g.client.CoreV1().Pods(w.namespace()).List(context.Background(), metav1.ListOptions{})
		require.NoError(w.t, err)
		s := d.Status
		return len(pods.Items) == 1 && s.ObservedGeneration >= d.Generation && s.Replicas == 1 && s.UpdatedReplicas == 1 && s.ReadyReplicas == 1
	}, 3*time.Minute, 50*time.Millisecond)
}

// changedByHand has somebody give the Deployment another variable.
func (w *walk) changedByHand() {
	w.repo.Git("reset", "-q", "--hard", "v2.0.0")
	w.before[1] = func() {
		patch := `{"spec":{"template":{"spec":{"containers":[{"name":"cluster","env":[{"name":"LOG_LEVEL","value":"debug"}]}]}}}}`
		_, err := w.g.client.AppsV1().Deployments(w.namespace()).Patch(context.Background(), w.namespace()+"-cluster",
			apitypes.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-set"})
		require.NoError(w.t, err)
		w.awaitPods()
	}
}

// namespace is that of the app, which has its name.
func (w *walk) namespace() string {
	for name, shown := range w.names {
		if shown == "busrig" {
			return name
		}
	}
	return ""
}

// killedOnTheWay kills the first command when it waits for the new pods, of which it is
// told nothing.
func (w *walk) killedOnTheWay() {
	w.sound()
	w.before[1] = func() { w.api.Have(&faults.Rule{Fault: faults.Silence, Match: afterTheFirstApply()}) }
	w.during[1] = awaitedFor{"wait for the new revision", func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }}
	w.before[2] = func() { w.api.Have(nil); w.awaitPods() }
}

// heldBySomebody has another run hold the lock until the second command waits for it.
func (w *walk) heldBySomebody() {
	w.sound()
	c, err := kubeclient.Connect(kubeclient.Options{Kubeconfig: w.g.kubeconfig})
	require.NoError(w.t, err)
	l := ledger.New(kubestore.New(c, w.namespace(), w.namespace()), w.namespace(), ledger.Options{})
	lock, err := l.Lock(context.Background(), ledger.LockOptions{Holder: "ci@runner-7"})
	require.NoError(w.t, err)
	w.during[2] = awaitedFor{"ci@runner-7", func(*exec.Cmd) { require.NoError(w.t, lock.Unlock(context.Background())) }}
}

// registryAway has a registry that does not answer.
func (w *walk) registryAway() {
	w.sound()
	w.before[1] = func() { w.registry.Have(&faults.Rule{Fault: faults.Hangup}) }
}

// clusterLost takes away everything of the app that was in the cluster.
func (w *walk) clusterLost() {
	w.repo.Git("reset", "-q", "--hard", "v2.0.0")
	ctx, all := context.Background(), metav1.ListOptions{}
	ns, now := w.namespace(), metav1.DeleteOptions{}
	require.NoError(w.t, w.g.client.AppsV1().Deployments(ns).DeleteCollection(ctx, now, all))
	require.NoError(w.t, w.g.client.CoreV1().Services(ns).Delete(ctx, ns+"-cluster", now))
	require.NoError(w.t, w.g.client.CoreV1().ConfigMaps(ns).DeleteCollection(ctx, now, all))
	require.NoError(w.t, w.g.client.CoreV1().Secrets(ns).DeleteCollection(ctx, now, all))
	require.NoError(w.t, w.g.client.CoordinationV1().Leases(ns).DeleteCollection(ctx, now, all))
}

// roleRetired has a second role in the cluster, which HEAD has no more.
func (w *walk) roleRetired() {
	w.sound()
	w.edits("v3.0.0", "functions:\n", "  mailer:\n    image: worker\n    kubernetes: {namespace: "+w.namespace()+"}\n    stable: 1ms\nfunctions:\n", nil)
	w.does(0, "release")
	w.repo.Git("revert", "--no-edit", "HEAD")
	w.repo.Git("tag", "v4.0.0")
}
