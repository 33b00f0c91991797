package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
)

// Records are those of an app in one namespace.
type Records struct {
	Namespace string
	Newest    int64  // its number
	SHA       string // its commit; "" if it cannot be read
}

// Elsewhere are the records of the app in another namespace of the cluster, those with
// the highest number; the zero value if there are none, or if the store has some.
func (s *Store) Elsewhere(ctx context.Context) (Records, error) {
	only := metav1.ListOptions{LabelSelector: s.selector(""), Limit: 1}
	own, err := s.client.ListMetadata(ctx, client.ConfigMaps, s.namespace, only)
	if err != nil || len(own.Items) > 0 {
		return Records{}, err
	}
	only.Limit = 0
	all, err := s.client.ListMetadata(ctx, client.ConfigMaps, "", only)
	if err != nil {
		return Records{}, err
	}
	var newest Records
	for _, item := range all.Items {
		name, _ := strings.CutPrefix(item.Name, s.prefix())
		if seq, err := strconv.ParseInt(name, 10, 64); err == nil && seq > newest.Newest {
			newest = Records{Namespace: item.Namespace, Newest: seq}
		}
	}
	if newest.Namespace != "" {
		newest.SHA = New(s.client, newest.Namespace, s.app).commitOf(ctx, newest.Newest)
	}
	return newest, nil
}

// commitOf is the commit of a record; "" if it cannot be read.
func (s *Store) commitOf(ctx context.Context, seq int64) string {
	entry, err := s.Read(ctx, fmt.Sprintf("%06d", seq))
	if err != nil {
		return ""
	}
	var record struct {
		SHA string `json:"sha"`
	}
	_ = json.Unmarshal(entry.Parts["record"], &record)
	return record.SHA
}
