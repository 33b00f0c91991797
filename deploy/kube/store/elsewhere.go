package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
)

// Records are those of an app in one namespace.
type Records struct {
	Namespace   string
	Newest      int64  // its number
	Environment string // of the newest; "" if none was named
}

// Elsewhere are the records of the app in other namespaces of the cluster, by
// namespace; nothing if there are none, or if the store has some.
func (s *Store) Elsewhere(ctx context.Context) ([]Records, error) {
	only := metav1.ListOptions{LabelSelector: s.selector(""), Limit: 1}
	own, err := s.client.ListMetadata(ctx, client.ConfigMaps, s.namespace, only)
	if err != nil || len(own.Items) > 0 {
		return nil, err
	}
	only.Limit = 0
	all, err := s.client.ListMetadata(ctx, client.ConfigMaps, "", only)
	if err != nil {
		return nil, err
	}
	newest := map[string]int64{}
	for _, item := range all.Items {
		name, _ := strings.CutPrefix(item.Name, s.prefix())
		if seq, err := strconv.ParseInt(name, 10, 64); err == nil {
			newest[item.Namespace] = max(newest[item.Namespace], seq)
		}
	}
	var found []Records
	for _, namespace := range slices.Sorted(maps.Keys(newest)) {
		environment, err := New(s.client, namespace, s.app).environmentOf(ctx, newest[namespace])
		if err != nil {
			return nil, err
		}
		found = append(found, Records{Namespace: namespace, Newest: newest[namespace], Environment: environment})
	}
	return found, nil
}

// environmentOf is the environment of a record; "" if it names none.
func (s *Store) environmentOf(ctx context.Context, seq int64) (string, error) {
	entry, err := s.Read(ctx, fmt.Sprintf("%06d", seq))
	if err != nil {
		return "", err
	}
	var record struct {
		Environment string `json:"environment"`
	}
	_ = json.Unmarshal(entry.Parts["record"], &record) // one that cannot be read names none
	return record.Environment, nil
}
