package main

import (
	"bytes"
	"fmt"
	"strings"
)

// fault is what is wrong with an variant.
type fault string

const (
	sound         fault = ""
	noSuchImage   fault = "no-such-image"  // a container's image is not in its registry
	unpullable    fault = "unpullable"     // the registry has the image and the node cannot pull it
	crashLoop     fault = "crash-loop"     // the program ends at once, each time
	missingSecret fault = "missing-secret" // a Secret that the pods read is not there
	unschedulable fault = "unschedulable"  // no node fits
	forbidden     fault = "forbidden"      // the caller may not change Deployments
)

// variant is a state of the app that can be deployed: a Deployment and
// ConfigMaps. Every tool gets the same.
type variant struct {
	objects  int // the Deployments among them
	fleet    int // Deployments besides "app", of 5 pods each
	image    int // which of the two images
	revision int // in every object, but not in the pods: a new one restarts nothing
	restart  int // in the pods: a new one restarts them
	fault    fault
}

const replicas = 2

// yaml gives the objects with the image named so.
func (e variant) yaml(d deployment, image string) []byte {
	var b bytes.Buffer
	for i := range e.objects - 1 - e.fleet {
		fmt.Fprintf(&b, configMap, i, d.namespace, e.revision, strings.Repeat("words ", 50))
	}
	var pods, container, second string
	switch e.fault {
	case noSuchImage:
		second = fmt.Sprintf("\n      - {name: second, image: '%s/bench/missing@sha256:%s'}", d.registry, strings.Repeat("0", 64))
	case unpullable:
		container = "\n        - {name: FIXTURE_FAULT, value: missing-image}"
	case crashLoop:
		container = "\n        - {name: FIXTURE_FAULT, value: crash-on-boot}"
	case missingSecret:
		container = "\n        - {name: TOKEN, valueFrom: {secretKeyRef: {name: missing, key: token}}}"
	case unschedulable:
		pods = "\n      nodeSelector: {disk: missing}"
	}
	annotations := fmt.Sprintf("restart: 'r%d'", e.restart)
	if e.fault == missingSecret && !d.real {
		annotations += ", shipit.dev/simulated-fate: no-config" // kwok looks for no Secret
	}
	one := func(name string, replicas int) {
		fmt.Fprintf(&b, deploymentYAML, name, d.namespace, e.revision, replicas, annotations, pods, image, container, second)
	}
	for i := range e.fleet {
		one(fmt.Sprintf("fleet-%03d", i), 5)
		b.WriteString("---\n")
	}
	one("app", replicas)
	return b.Bytes()
}

const configMap = `apiVersion: v1
kind: ConfigMap
metadata: {name: c-%03d, namespace: %s}
data: {revision: 'r%d', text: '%s'}
---
`

const deploymentYAML = `apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s, annotations: {revision: 'r%[3]d'}}
spec:
  replicas: %[4]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {%[5]s}
    spec:
      terminationGracePeriodSeconds: 1%[6]s
      containers:
      - name: app
        image: '%[7]s'
        ports: [{containerPort: 3111}]
        readinessProbe: {httpGet: {path: /, port: 3111}, periodSeconds: 1}
        env:
        - {name: WORKER_ROLE, value: cluster}%[8]s%[9]s
`
