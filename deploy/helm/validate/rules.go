package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Workload is an object that runs pods.
type Workload struct {
	kind     string
	name     string
	replicas *int32
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	// Volume claims of each pod.
	claims      []corev1.PersistentVolumeClaim
	serviceName string
}

func (workload Workload) role() string {
	return workload.template.Labels["app.kubernetes.io/component"]
}

func (workload Workload) container() corev1.Container {
	if len(workload.template.Spec.Containers) == 0 {
		return corev1.Container{}
	}
	return workload.template.Spec.Containers[0]
}

// hasPort returns whether the pods listen on a port, given by name or number.
func (workload Workload) hasPort(port intstr.IntOrString) bool {
	for _, known := range workload.container().Ports {
		if port == intstr.FromString(known.Name) || port == intstr.FromInt32(known.ContainerPort) {
			return true
		}
	}
	return false
}

func workloads(objects []Object) (found []Workload) {
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.Deployment:
			spec := object.Spec
			found = append(found, Workload{"Deployment", object.Name, spec.Replicas, spec.Selector, spec.Template, nil, ""})
		case *appsv1.StatefulSet:
			spec := object.Spec
			found = append(found, Workload{"StatefulSet", object.Name, spec.Replicas, spec.Selector, spec.Template, spec.VolumeClaimTemplates, spec.ServiceName})
		}
	}
	return found
}

// selected returns the workloads whose pods a selector selects. An empty selector selects none here, unlike in
// Kubernetes, where it selects the whole namespace: nothing in the chart means that.
func selected(all []Workload, selector *metav1.LabelSelector) (found []Workload) {
	matches, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || matches.Empty() {
		return nil
	}
	for _, workload := range all {
		if matches.Matches(labels.Set(workload.template.Labels)) {
			found = append(found, workload)
		}
	}
	return found
}

func checkAll(objects []Object) (problems []string) {
	all := workloads(objects)
	complain := func(kind, name, format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf("%s %s: %s", kind, name, fmt.Sprintf(format, arguments...)))
	}
	services := map[string]*corev1.Service{}
	seen := map[string]bool{}
	scaledBy := map[string]string{}
	for _, object := range objects {
		if id := fmt.Sprintf("%T %s", object, object.GetName()); seen[id] {
			complain(fmt.Sprintf("%T", object), object.GetName(), "is defined twice")
		} else {
			seen[id] = true
		}
		if service, is := object.(*corev1.Service); is {
			services[service.Name] = service
		}
	}
	// exactlyOne returns the workload whose pods are selected.
	exactlyOne := func(kind, name string, selector *metav1.LabelSelector) (Workload, bool) {
		found := selected(all, selector)
		if len(found) != 1 {
			complain(kind, name, "its selector selects the pods of %d workloads, not of 1", len(found))
			return Workload{}, false
		}
		return found[0], true
	}
	scales := func(kind, name string, target autoscalingv2.CrossVersionObjectReference, least, most int32) {
		if least > most {
			complain(kind, name, "from %d to %d replicas", least, most)
		}
		for _, workload := range all {
			if workload.name != target.Name || workload.kind != target.Kind || target.APIVersion != "apps/v1" {
				continue
			}
			if workload.replicas != nil {
				complain(kind, name, "%s %s sets replicas as well", workload.kind, workload.name)
			}
			if other := scaledBy[workload.name]; other != "" {
				complain(kind, name, "%s scales %s as well", other, workload.name)
			}
			scaledBy[workload.name] = kind + " " + name
			return
		}
		complain(kind, name, "the target %s %s does not exist", target.Kind, target.Name)
	}
	for _, workload := range all {
		for _, problem := range checkWorkload(workload, services) {
			complain(workload.kind, workload.name, "%s", problem)
		}
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.StatefulSet:
			kept := object.Spec.PersistentVolumeClaimRetentionPolicy
			if kept == nil || kept.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || kept.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
				complain("StatefulSet", object.Name, "its volumes must outlive it")
			}
		case *corev1.Service:
			workload, found := exactlyOne("Service", object.Name, metav1.SetAsLabelSelector(object.Spec.Selector))
			for _, port := range object.Spec.Ports {
				if found && !workload.hasPort(port.TargetPort) {
					complain("Service", object.Name, "no port %s in the pods of %s", port.TargetPort.String(), workload.name)
				}
			}
		case *policyv1.PodDisruptionBudget:
			exactlyOne("PodDisruptionBudget", object.Name, object.Spec.Selector)
			if object.Spec.MaxUnavailable == nil && object.Spec.MinAvailable == nil {
				complain("PodDisruptionBudget", object.Name, "allows everything")
			}
		case *networkingv1.NetworkPolicy:
			workload, found := exactlyOne("NetworkPolicy", object.Name, &object.Spec.PodSelector)
			for _, rule := range object.Spec.Ingress {
				for _, port := range rule.Ports {
					if found && (port.Port == nil || !workload.hasPort(*port.Port)) {
						complain("NetworkPolicy", object.Name, "no such port in the pods of %s", workload.name)
					}
				}
				for _, peer := range rule.From {
					if peer.NamespaceSelector == nil && peer.IPBlock == nil {
						exactlyOne("NetworkPolicy", object.Name, peer.PodSelector)
					}
				}
				if found && workload.role() != "gateway" && len(rule.From) == 0 {
					complain("NetworkPolicy", object.Name, "allows all peers")
				}
			}
		case *autoscalingv2.HorizontalPodAutoscaler:
			least := int32(1)
			if object.Spec.MinReplicas != nil {
				least = *object.Spec.MinReplicas
			}
			scales("HorizontalPodAutoscaler", object.Name, object.Spec.ScaleTargetRef, least, object.Spec.MaxReplicas)
		case *ScaledObject:
			scales("ScaledObject", object.Name, object.Spec.ScaleTargetRef, object.Spec.MinReplicaCount, object.Spec.MaxReplicaCount)
			for _, problem := range checkTriggers(object) {
				complain("ScaledObject", object.Name, "%s", problem)
			}
		case *ServiceMonitor:
			matches, err := metav1.LabelSelectorAsSelector(&object.Spec.Selector)
			monitored := 0
			for _, service := range services {
				if err == nil && matches.Matches(labels.Set(service.Labels)) {
					monitored++
					for _, endpoint := range object.Spec.Endpoints {
						if !hasServicePort(service, endpoint.Port) {
							complain("ServiceMonitor", object.Name, "Service %s has no port %q", service.Name, endpoint.Port)
						}
					}
				}
			}
			if monitored != len(all) {
				complain("ServiceMonitor", object.Name, "%d Services for %d workloads", monitored, len(all))
			}
		}
	}
	return problems
}

func hasServicePort(service *corev1.Service, name string) bool {
	for _, port := range service.Spec.Ports {
		if port.Name == name {
			return true
		}
	}
	return false
}

func checkTriggers(object *ScaledObject) (problems []string) {
	for _, trigger := range object.Spec.Triggers {
		parameters, known := triggerParameters[trigger.Type]
		if !known {
			problems = append(problems, fmt.Sprintf("unknown trigger %q", trigger.Type))
		}
		for parameter, needed := range parameters {
			if needed && trigger.Metadata[parameter] == "" {
				problems = append(problems, fmt.Sprintf("the trigger %s needs %s", trigger.Type, parameter))
			}
		}
		for parameter := range trigger.Metadata {
			if _, known := parameters[parameter]; !known {
				problems = append(problems, fmt.Sprintf("the trigger %s has no %s", trigger.Type, parameter))
			}
		}
		query := trigger.Metadata["query"]
		for _, pair := range []string{"()", "{}", "[]"} {
			if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
				problems = append(problems, fmt.Sprintf("%s do not match in %s", pair, query))
			}
		}
	}
	return problems
}

var upstream = regexp.MustCompile(`^https?://([a-z0-9-]+):([0-9]+)$`)

// checkWorkload reports requirements that the pods do not meet, and names that do not resolve.
func checkWorkload(workload Workload, services map[string]*corev1.Service) (problems []string) {
	complain := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf(format, arguments...))
	}
	pod, container := workload.template.Spec, workload.container()
	if matches, err := metav1.LabelSelectorAsSelector(workload.selector); err != nil || matches.Empty() || !matches.Matches(labels.Set(workload.template.Labels)) {
		complain("its selector does not select its own pods")
	}
	if len(pod.Containers) != 1 {
		complain("%d containers", len(pod.Containers))
	}
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		complain("enableServiceLinks must be false: Spillway rejects the variables of a Service with its name")
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		complain("automountServiceAccountToken must be false: no pod uses the API server")
	}
	problems = append(problems, checkSecurity(pod.SecurityContext, container.SecurityContext)...)
	problems = append(problems, checkAccess(pod, container)...)
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil {
			complain("no %s probe", name)
		} else if !workload.hasPort(probe.HTTPGet.Port) {
			complain("the %s probe asks at port %s, which does not exist", name, probe.HTTPGet.Port.String())
		} else if path := probe.HTTPGet.Path; path != "/actuator/health/liveness" && path != "/actuator/health/readiness" {
			complain("the %s probe asks for %s", name, path)
		}
	}
	for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if _, given := container.Resources.Requests[resource]; !given {
			complain("no request of %s", resource)
		}
	}
	if _, given := container.Resources.Limits[corev1.ResourceMemory]; !given {
		complain("no limit of memory")
	}

	mountable := map[string]bool{}
	for _, volume := range pod.Volumes {
		mountable[volume.Name] = true
	}
	for _, claim := range workload.claims {
		mountable[claim.Name] = true
	}
	mounts := map[string]bool{}
	for _, mount := range container.VolumeMounts {
		mounts[mount.MountPath] = !mount.ReadOnly
		if !mountable[mount.Name] {
			complain("the volume %s does not exist", mount.Name)
		}
	}

	variables := map[string]string{}
	for _, variable := range container.Env {
		if _, twice := variables[variable.Name]; twice {
			complain("%s is set twice", variable.Name)
		}
		variables[variable.Name] = variable.Value
	}
	role := workload.role()
	if len(container.Args) != 1 || container.Args[0] != role {
		complain("runs %q, not %s", container.Args, role)
	}
	listen := variables["SPILLWAY_"+strings.ToUpper(role)+"__LISTEN"]
	port, err := strconv.ParseInt(listen[strings.LastIndex(listen, ":")+1:], 10, 32)
	if err != nil || !workload.hasPort(intstr.FromInt32(int32(port))) {
		complain("listens on %q, which is not one of its ports", listen)
	}
	drain, err := time.ParseDuration(variables["SPILLWAY_DRAIN_TIMEOUT"])
	var wait time.Duration
	if hook := container.Lifecycle; hook != nil && hook.PreStop != nil && hook.PreStop.Sleep != nil {
		wait = time.Duration(hook.PreStop.Sleep.Seconds) * time.Second
	}
	grace := time.Duration(0)
	if pod.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	}
	if err != nil || grace < wait+drain+5*time.Second {
		complain("terminationGracePeriodSeconds of %s is too short for %s before SIGTERM and %q of drain", grace, wait, variables["SPILLWAY_DRAIN_TIMEOUT"])
	}
	if role == "producer" {
		if workload.kind != "StatefulSet" || len(workload.claims) == 0 || !mounts[variables["SPILLWAY_DATA_DIR"]] {
			complain("the journal needs a volume that outlives the pod at SPILLWAY_DATA_DIR")
		}
	}
	if workload.kind == "StatefulSet" {
		if service := services[workload.serviceName]; service == nil || service.Spec.ClusterIP != corev1.ClusterIPNone {
			complain("the headless Service %s does not exist", workload.serviceName)
		}
	}
	for _, name := range []string{"SPILLWAY_GATEWAY__PRODUCERS", "SPILLWAY_GATEWAY__CONSUMERS"} {
		if role != "gateway" {
			continue
		}
		parts := upstream.FindStringSubmatch(variables[name])
		if parts == nil || services[parts[1]] == nil {
			complain("%s=%s names no Service", name, variables[name])
			continue
		}
		found := false
		for _, port := range services[parts[1]].Spec.Ports {
			found = found || strconv.Itoa(int(port.Port)) == parts[2]
		}
		if !found {
			complain("%s=%s: the Service has no such port", name, variables[name])
		}
	}
	return problems
}

func checkSecurity(pod *corev1.PodSecurityContext, container *corev1.SecurityContext) (problems []string) {
	is := func(flag *bool, wanted bool) bool { return flag != nil && *flag == wanted }
	if pod == nil || !is(pod.RunAsNonRoot, true) || pod.RunAsUser == nil || *pod.RunAsUser == 0 {
		problems = append(problems, "must not run as root")
	}
	if pod == nil || pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		problems = append(problems, "must have the seccomp profile RuntimeDefault")
	}
	if container == nil || !is(container.ReadOnlyRootFilesystem, true) || !is(container.AllowPrivilegeEscalation, false) {
		problems = append(problems, "must have a read-only root file system and no privilege escalation")
	}
	if container == nil || container.Capabilities == nil || len(container.Capabilities.Drop) != 1 || container.Capabilities.Drop[0] != "ALL" || len(container.Capabilities.Add) > 0 {
		problems = append(problems, "must drop all capabilities")
	}
	return problems
}
