-- The health of a DSPyCompilationTrigger, by its kstatus conditions. A status of an older spec says nothing about this one.
if obj.spec ~= nil and obj.spec.suspend == true then
  return {status = "Suspended", message = "The trigger is suspended."}
end
if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not looked at this spec yet."}
end
local health = {status = "Progressing", message = ""}
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = condition.message}
  end
  if condition.type == "Ready" then
    health.message = condition.message
    if condition.status == "True" then
      health.status = "Healthy"
    end
  end
end
return health
