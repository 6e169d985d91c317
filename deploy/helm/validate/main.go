// Command validate reads rendered manifests from standard input and reports errors in them; exit status 1 if there are any.
//
// Constraints and invariants:
//   - Each document is decoded strictly into the type that the API server uses: an unknown, misspelt or repeated
//     field is an error. A kind that is not listed in decode is an error too.
//   - Kinds of KEDA and Prometheus Operator are decoded into small types in custom.go that have only the fields which the
//     chart uses: their modules would add hundreds of dependencies.
//   - Rules beyond types are in rules.go: references between names, and requirements for every pod.
//   - No cluster and no network is used.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Object is a decoded document.
type Object interface {
	GetName() string
}

func main() {
	into := flag.String("write", "", "directory to write into: ROLE.env, the variables of each role's process, one per line, and queries.rules, KEDA's queries to Prometheus")
	flag.Parse()
	objects, problems := decodeAll(os.Stdin)
	if len(objects) == 0 && len(problems) == 0 {
		problems = append(problems, "no documents")
	}
	problems = append(problems, checkAll(objects)...)
	if *into != "" {
		problems = append(problems, writeEnvironments(*into, objects)...)
		problems = append(problems, writeQueries(*into, objects)...)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	kinds := map[string]int{}
	for _, object := range objects {
		kinds[strings.TrimPrefix(fmt.Sprintf("%T", object), "*")]++
	}
	var counts []string
	for kind, count := range kinds {
		counts = append(counts, fmt.Sprintf("%s %d", kind[strings.LastIndex(kind, ".")+1:], count))
	}
	sort.Strings(counts)
	fmt.Printf("%d documents (%s): nothing wrong\n", len(objects), strings.Join(counts, ", "))
}

func decodeAll(input io.Reader) (objects []Object, problems []string) {
	reader := yamlreader.NewYAMLReader(bufio.NewReader(input))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, problems
		}
		if err != nil {
			return objects, append(problems, err.Error())
		}
		object, err := decode(document)
		if err != nil {
			problems = append(problems, err.Error())
		} else if object != nil {
			objects = append(objects, object)
		}
	}
}

// decode returns nil for a document that contains only comments.
func decode(document []byte) (Object, error) {
	json, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	if string(json) == "null" {
		return nil, nil
	}
	var named struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(json, &named); err != nil {
		return nil, err
	}
	kinds := map[string]Object{
		"apps/v1 Deployment":                      &appsv1.Deployment{},
		"apps/v1 StatefulSet":                     &appsv1.StatefulSet{},
		"v1 Service":                              &corev1.Service{},
		"policy/v1 PodDisruptionBudget":           &policyv1.PodDisruptionBudget{},
		"autoscaling/v2 HorizontalPodAutoscaler":  &autoscalingv2.HorizontalPodAutoscaler{},
		"networking.k8s.io/v1 NetworkPolicy":      &networkingv1.NetworkPolicy{},
		"keda.sh/v1alpha1 ScaledObject":           &ScaledObject{},
		"monitoring.coreos.com/v1 ServiceMonitor": &ServiceMonitor{},
	}
	kind := named.APIVersion + " " + named.Kind
	object, known := kinds[kind]
	if !known {
		return nil, fmt.Errorf("%s %s: unknown kind", kind, named.Metadata.Name)
	}
	strict, err := kjson.UnmarshalStrict(json, object)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", named.Kind, named.Metadata.Name, err)
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("%s %s: %w", named.Kind, named.Metadata.Name, errors.Join(strict...))
	}
	if named.Metadata.Name == "" {
		return nil, fmt.Errorf("%s: no name", kind)
	}
	return object, nil
}

// writeEnvironments writes the variables of each role's process, with valid placeholders for secrets, so that the
// program can check its settings.
func writeEnvironments(directory string, objects []Object) (problems []string) {
	standIns := map[string]string{
		"postgres-url":      "postgres://user:password@host/database",
		"redis-url":         "redis://host:6379",
		"alert-webhook-url": "http://host/alerts",
	}
	for _, workload := range workloads(objects) {
		var lines []string
		for _, variable := range workload.container().Env {
			value := variable.Value
			if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
				value = "secret"
				if known, isURL := standIns[from.SecretKeyRef.Key]; isURL {
					value = known
				}
			}
			lines = append(lines, variable.Name+"="+value+"\n")
		}
		file := filepath.Join(directory, workload.role()+".env")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

// writeQueries writes KEDA's queries to Prometheus as rules, named after the role that they scale, so that they can be
// tested.
func writeQueries(directory string, objects []Object) (problems []string) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	queries := group{Name: "queries"}
	for _, object := range objects {
		scaled, is := object.(*ScaledObject)
		if !is {
			continue
		}
		for _, trigger := range scaled.Spec.Triggers {
			if query, has := trigger.Metadata["query"]; has {
				queries.Rules = append(queries.Rules, rule{scaled.Labels["app.kubernetes.io/component"] + "s", query})
			}
		}
	}
	if len(queries.Rules) == 0 {
		return nil
	}
	text, err := yaml.Marshal(map[string][]group{"groups": {queries}})
	if err == nil {
		err = os.WriteFile(filepath.Join(directory, "queries.rules"), text, 0o644)
	}
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}
