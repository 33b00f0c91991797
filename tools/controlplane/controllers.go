package main

import (
	"context"
	"strings"

	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// controllers are those that a rollout can meet. Left out are the ones that
// need what is not here: a cloud, volumes to bind, certificates to sign.
func controllers() string {
	return strings.Join([]string{
		"clusterrole-aggregation-controller", "cronjob-controller", "daemonset-controller", "deployment-controller",
		"disruption-controller", "endpoints-controller", "endpointslice-controller", "garbage-collector-controller",
		"horizontal-pod-autoscaler-controller", "job-controller", "namespace-controller", "node-lifecycle-controller",
		"pod-garbage-collector-controller", "replicaset-controller", "replicationcontroller-controller",
		"resourcequota-controller", "root-ca-certificate-publisher-controller", "service-cidr-controller",
		"serviceaccount-controller", "serviceaccount-token-controller", "statefulset-controller",
		"taint-eviction-controller", "ttl-after-finished-controller", "validatingadmissionpolicy-status-controller",
	}, ",")
}

// startControllers runs the controller manager, alone: no leader election and
// no port of its own.
func (p *plane) startControllers(ctx context.Context, ended chan<- error) error {
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, disabled, aliases := kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases()
	flags := o.Flags(known, disabled, aliases)
	o.ParsedFlags = &flags
	err = parse(flags,
		"--kubeconfig="+p.file("internal.kubeconfig"), "--leader-elect=false", "--secure-port=0",
		"--controllers="+controllers(),
		"--service-account-private-key-file="+p.file("sa.key"), "--root-ca-file="+p.file("certs/apiserver.crt"),
		"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-gc-syncs=4", "--node-monitor-grace-period=50s")
	if err != nil {
		return err
	}
	c, err := o.Config(ctx, known, disabled, aliases)
	if err != nil {
		return err
	}
	go func() { ended <- kcm.Run(ctx, c.Complete()) }()
	return nil
}

// startScheduler runs the scheduler, alone as well.
func (p *plane) startScheduler(ctx context.Context, ended chan<- error) error {
	o := scheduleroptions.NewOptions()
	err := parse(*o.Flags, "--kubeconfig="+p.file("internal.kubeconfig"), "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=500", "--kube-api-burst=1000")
	if err != nil {
		return err
	}
	c, s, err := scheduler.Setup(ctx, o)
	if err != nil {
		return err
	}
	go func() { ended <- scheduler.Run(ctx, c, s) }()
	return nil
}
