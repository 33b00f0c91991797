package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// step is one scene: what it shows, what is typed, and how it must end.
type step struct {
	shows string
	edits []edit
	typed []string                           // commands before the one that counts; each must end with 0
	hand  func(context.Context) error        // what somebody does who is not shipit
	line  string                             // the command that counts
	code  int                                // its exit code
	runs  string                             // the version that every role must run after it; empty: drift
	looks bool                               // it changes nothing: what runs is not asked again
	also  func(context.Context, state) error // what else must hold of what runs
}

// edit is a change of a file: one text in place of another.
type edit struct{ file, from, to string }

// story is the promise, step by step, with the roles that run here.
func (p *play) story() []step {
	return []step{
		{
			shows: "v1 goes to " + p.roles() + ", and what runs is compared with it",
			typed: []string{"git add -A && git commit -qm 'busrig: first edition' && git tag v1.0.0"},
			line:  "shipit release", runs: "1.0.0", also: p.remember,
		},
		{
			shows: "v2 takes its place; every role runs the new commit",
			edits: p.edition("", ", second edition"),
			typed: []string{"git commit -qam 'busrig: second edition' && git tag v2.0.0"},
			line:  "shipit release", runs: "2.0.0",
		},
		{
			shows: "somebody moves the " + p.victim() + " back to v1 by hand: status names it",
			hand:  p.byHand, line: "shipit status", code: 6, also: p.namesTheVictim,
		},
		{
			shows: "the release that is recorded is put back; what was not moved is not touched",
			line:  "shipit release", runs: "2.0.0",
		},
		p.broken(),
		{
			shows: "one command carries every role back to v1",
			line:  "shipit rollback --to 1.0.0", runs: "1.0.0",
		},
		{
			shows: "every release and rollback has its record, chained to the one before",
			line:  "shipit history", looks: true,
		},
		{
			shows: "the same as one page to look at, which stays there",
			line:  "shipit report > " + p.report(), looks: true, also: p.reported,
		},
	}
}

// broken is the step in which a release fails and is taken back.
func (p *play) broken() step {
	s := step{
		shows: "v3, whose gateway never gets healthy: all three roles are put back to v2",
		edits: append(p.edition(", second edition", ", third edition"), edit{gateway, `const available = fault !== "session-dead"`, "const available = false"}),
		typed: []string{"git commit -qam 'busrig: third edition, whose gateway is never healthy' && git tag v3.0.0"},
		line:  "shipit release", code: 5, runs: "2.0.0",
		also: func(ctx context.Context, _ state) error { return p.restored(ctx, "gateway", "ProbeFailed") },
	}
	if p.host == nil {
		s.shows = "v3, whose worker crashes when it starts: v2 is put back"
		s.edits = append(p.edition(", second edition", ", third edition"), edit{"shipit.yaml", "FIXTURE_FAULT: none", "FIXTURE_FAULT: crash-on-boot"})
		s.typed = []string{"git commit -qam 'busrig: third edition, which crashes at start' && git tag v3.0.0"}
		s.also = func(ctx context.Context, _ state) error { return p.restored(ctx, "cluster", "CrashLoop") }
	}
	return s
}

// edition changes what the programs say when they start, and so every image.
func (p *play) edition(from, to string) []edit {
	return []edit{
		{worker, "console.log(`system-bus" + from, "console.log(`system-bus" + to},
		{gateway, "console.log(`gateway" + from, "console.log(`gateway" + to},
	}
}

// roles names the roles that run here.
func (p *play) roles() string {
	if p.host == nil {
		return "the pod of the cluster"
	}
	return "pod, host worker and gateway"
}

// victim is what is moved by hand.
func (p *play) victim() string {
	if p.host == nil {
		return "worker"
	}
	return "gateway"
}

// victimRole is its role.
func (p *play) victimRole() string {
	if p.host == nil {
		return "cluster"
	}
	return "gateway"
}

// byHand starts the gateway from the release directory of v1, as someone does who is
// in a hurry. Without a host it gives the Deployment the image of v1.
func (p *play) byHand(ctx context.Context) error {
	digest := p.v1[p.victimRole()]
	if p.host == nil {
		image := p.registry + "/busrig/system-bus-worker@" + digest
		fmt.Fprintln(p.out, "# what this does: kubectl set image -n busrig deployment/"+deployment+" cluster="+image)
		patch := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []map[string]string{{"name": "cluster", "image": image}},
		}}}}
		if err := p.cluster.Call(ctx, http.MethodPatch, deployments+deployment+"?fieldManager=kubectl-set", patch, nil); err != nil {
			return err
		}
		return p.rolledOut(ctx)
	}
	script := fmt.Sprintf("sed -i s,$(readlink current/gateway),$PWD/releases/%s, /etc/systemd/system/gateway.service && systemctl daemon-reload && systemctl restart gateway", digest[len("sha256:"):])
	fmt.Fprintln(p.out, "root@devhost:"+p.host.Root+"# "+script)
	_, err := p.host.Exec(ctx, "sh", "-c", "cd "+p.host.Root+" && "+script)
	return err
}

const (
	deployment  = "busrig-cluster" // the name that shipit gives the Deployment of the role cluster
	deployments = "/apis/apps/v1/namespaces/busrig/deployments/"
)

// rolledOut waits until the Deployment's newest pods are ready, as kubectl rollout
// status does.
func (p *play) rolledOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the pod that somebody changed by hand is not ready in 2 minutes"))
	defer cancel()
	for {
		var d struct {
			Metadata struct{ Generation int64 }
			Status   struct{ ObservedGeneration, Replicas, UpdatedReplicas, ReadyReplicas int64 }
		}
		if err := p.cluster.Call(ctx, http.MethodGet, deployments+deployment, nil, &d); err != nil {
			return err
		}
		if s := d.Status; s.ObservedGeneration >= d.Metadata.Generation && s.Replicas == 1 && s.UpdatedReplicas == 1 && s.ReadyReplicas == 1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
