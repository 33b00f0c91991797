package preflight

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/release"
)

// timeouts checks that no workload asks for more time than a rollout has.
func (r *run) timeouts(ctx context.Context) error {
	return r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		v, _, _ := unstructured.NestedFieldNoCopy(w.Body.Object, "spec", "minReadySeconds")
		seconds, _ := v.(float64) // of a rendered object
		if limit := r.o.Timeout; seconds == 0 || limit <= 0 || time.Duration(seconds)*time.Second < limit {
			return nil
		}
		creates, err := r.createsPods(ctx, role, w)
		if err != nil || !creates {
			return err
		}
		r.found(release.Finding{Code: release.CodeTimeoutTooShort, Severity: release.Refuses, Fixed: true, Role: role.Name, Object: w.ID.String(),
			Message: fmt.Sprintf("minReadySeconds: %.0f is as long as a rollout may take, which is %s", seconds, r.o.Timeout),
			Hint:    "lower minReadySeconds, or raise `timeout:` in shipit.yaml or --timeout"})
		return nil
	})
}
