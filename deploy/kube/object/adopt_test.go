package object_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

func TestWhatIsAdoptedOfAnObject(t *testing.T) {
	for name, tc := range map[string]struct{ live, want, why string }{
		"what people state is kept, and what the server sets is not": {
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"bus","uid":"1","resourceVersion":"7","generation":2,
			  "creationTimestamp":"2026-01-01T00:00:00Z","finalizers":["a/b"],"managedFields":[{}],"labels":{"app":"web","applyset.kubernetes.io/part-of":"x"},
			  "annotations":{"team":"bus","kubectl.kubernetes.io/last-applied-configuration":"{}"}},"spec":{"clusterIP":"10.0.0.7"},"status":{"loadBalancer":{}}}`,
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"bus","labels":{"app":"web"},"annotations":{"team":"bus"}},"spec":{"clusterIP":"10.0.0.7"}}`, "",
		},
		"a template has no time": {
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"bus","annotations":{"deployment.kubernetes.io/revision":"4"}},
			  "spec":{"template":{"metadata":{"creationTimestamp":null,"labels":{"a":"b"}},"spec":{"containers":[]}}}}`,
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"bus"},"spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[]}}}}`, "",
		},
		"a Secret is not stored":              {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"bus"},"data":{"a":"aHVudGVyMg=="}}`, "null", "Secret bus/s, whose values are not stored"},
		"a Job has run":                       {`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j","namespace":"bus"}}`, "null", "Job bus/j, which has run"},
		"what holds data stays":               {`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"d","namespace":"bus"}}`, "null", ""},
		"what is being deleted is not there":  {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d","namespace":"bus","deletionTimestamp":"2026-01-01T00:00:00Z"}}`, "null", ""},
		"another group's Secret is an object": {`{"apiVersion":"example.com/v1","kind":"Secret","metadata":{"name":"s","namespace":"bus"}}`, `{"apiVersion":"example.com/v1","kind":"Secret","metadata":{"name":"s","namespace":"bus"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			live := &unstructured.Unstructured{}
			require.NoError(t, json.Unmarshal([]byte(tc.live), &live.Object))
			body, why := object.Adopt(live)
			require.Equal(t, tc.why, why)
			got, err := json.Marshal(body)
			require.NoError(t, err)
			require.JSONEq(t, tc.want, string(got))
		})
	}
}
