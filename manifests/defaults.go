package manifests

import (
	"encoding/json"
	"math"
	"time"
)

// setDeadline lets Kubernetes itself give up on a Deployment, also when nobody
// watches any more; its own default is 10 minutes.
func setDeadline(o object, deadline time.Duration) {
	if o.kind() != "Deployment" || o.group() != "apps" {
		return
	}
	spec := ensure(o.fields, "spec")
	if spec["progressDeadlineSeconds"] != nil {
		return
	}
	if deadline <= 0 {
		deadline = 5 * time.Minute
	}
	seconds := int64(math.Ceil(deadline.Seconds()))
	if minReady, ok := spec["minReadySeconds"].(json.Number); ok {
		n, _ := minReady.Int64()
		seconds += n // the API demands more than minReadySeconds
	}
	spec["progressDeadlineSeconds"] = seconds
}
