package kube

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// The kinds that are read or written as Go types; all others are unstructured.
var (
	configMapsKind    = kind{gvr: corev1.SchemeGroupVersion.WithResource("configmaps"), namespaced: true}
	podsKind          = kind{gvr: corev1.SchemeGroupVersion.WithResource("pods"), namespaced: true}
	eventsKind        = kind{gvr: corev1.SchemeGroupVersion.WithResource("events"), namespaced: true}
	secretsKind       = kind{gvr: corev1.SchemeGroupVersion.WithResource("secrets"), namespaced: true}
	quotasKind        = kind{gvr: corev1.SchemeGroupVersion.WithResource("resourcequotas"), namespaced: true}
	nodesKind         = kind{gvr: corev1.SchemeGroupVersion.WithResource("nodes")}
	leasesKind        = kind{gvr: coordinationv1.SchemeGroupVersion.WithResource("leases"), namespaced: true}
	rulesReviewsKind  = kind{gvr: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectrulesreviews")}
	accessReviewsKind = kind{gvr: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews")}
)

// typedClient reads and writes Go types in protobuf. It registers the groups that
// are used here: client-go's own client registers every group that there is, which
// takes longer than a release that changes nothing.
type typedClient struct {
	rest   rest.Interface
	params runtime.ParameterCodec
}

func newTypedClient(cfg *rest.Config, c *Cluster) (typedClient, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return typedClient{}, err
		}
	}
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.APIPath, cfg.GroupVersion = "/api", &schema.GroupVersion{Version: "v1"} // every request names its own path
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientForConfigAndClient(cfg, c.http)
	return typedClient{rest: client, params: runtime.NewParameterCodec(scheme)}, err
}

func (t typedClient) get(ctx context.Context, k kind, namespace, name string, into runtime.Object) error {
	return t.rest.Get().AbsPath(k.path(namespace, name)).Do(ctx).Into(into)
}

func (t typedClient) list(ctx context.Context, k kind, namespace string, o metav1.ListOptions, into runtime.Object) error {
	return t.rest.Get().AbsPath(k.path(namespace, "")).VersionedParams(&o, t.params).Do(ctx).Into(into)
}

// create sends an object and reads the answer into it.
func (t typedClient) create(ctx context.Context, k kind, namespace string, object runtime.Object, o metav1.CreateOptions) error {
	return t.rest.Post().AbsPath(k.path(namespace, "")).VersionedParams(&o, t.params).Body(object).Do(ctx).Into(object)
}

// update sends an object and reads the answer into it.
func (t typedClient) update(ctx context.Context, k kind, namespace, name string, object runtime.Object) error {
	o := metav1.UpdateOptions{FieldManager: Manager}
	return t.rest.Put().AbsPath(k.path(namespace, name)).VersionedParams(&o, t.params).Body(object).Do(ctx).Into(object)
}

// watching opens watches of a kind in a namespace.
func (t typedClient) watching(k kind, namespace string) func(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.Watch = true
		return t.rest.Get().AbsPath(k.path(namespace, "")).VersionedParams(&o, t.params).Watch(ctx)
	}
}
