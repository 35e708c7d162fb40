"""Every public refusal code: who can mend it, and how (side: library).

The family before the dot names the error class in common/errors.py. A code is stable once released: clients match it.
The texts are public: they name commands, never what a party's document says.
"""

from typing import Final

Mender = str  # "owner", "provider", "user", "operator", "sender" (whoever made the bytes)

REFUSALS: Final[dict[str, tuple[Mender, str]]] = {
    # -- format: the bytes are not what they say they are
    "format.message": ("sender", "send a message of the documented type and version (docs/formats.md)"),
    "format.too_large": ("sender", "send at most the documented number of bytes (docs/formats.md)"),
    "format.media_type": ("sender", "send the body as application/octet-stream or application/json"),
    "format.receipt": ("user", "show the receipt and openings as `cloister user query --receipt` wrote them"),
    "format.policy": ("sender", "mend the policy file (`cloister policy check FILE`; docs/policy.md)"),
    "format.identifier": ("sender", "use an identifier as the service returned it"),
    "format.sealed_object": ("sender", "seal the data anew with `cloister owner seal` or `cloister provider pack`"),
    "format.dataset": (
        "owner",
        "seal columns of fixed shape (`cloister owner seal`); anew, if they were sealed by an earlier version",
    ),
    "format.bundle": ("provider", "pack the bundle anew with `cloister provider pack`"),
    "format.checkpoint": (
        "operator",
        "order the job anew (`cloister owner train`): a checkpoint is of another version",
    ),
    "format.design": (
        "provider",
        "mend the design or graph where the refusal says (`cloister provider check`, docs/model-graph.md)",
    ),
    "format.schema": ("sender", 'mend the schema file (docs/providers.md, "Rows to check with")'),
    "format.backup": (
        "operator",
        "take another backup (`cloister backup DIRECTORY`): this one is damaged, incomplete or none",
    ),
    "format.door_frame": (
        "operator",
        "restart the service (`cloister up`): relay and enclave are of different versions",
    ),
    "format.quote": (
        "operator",
        "send the quote as the platform made it; `cloister verify quote` says what is wrong with it",
    ),
    "format.snp_report": (
        "operator",
        "send the report as the firmware made it, 1,184 bytes (`cloister verify snp` says what is wrong with it)",
    ),
    "format.snp_endorsements": (
        "operator",
        "bring AMD's revocation list for the processor's line, in DER or PEM (`cloister verify snp --crl`)",
    ),
    "format.host_evidence": (
        "operator",
        "send keys, quote and lists as TPM and kernel gave them (`cloister verify host` says what is wrong)",
    ),
    "format.sigstruct": ("sender", "name the `.sig` file that `gramine-sgx-sign` wrote for this enclave"),
    "format.manifest": (
        "operator",
        "use the manifest as `cloister enclaves build` wrote it (what it may say: deploy/enclaves/manifest.py)",
    ),
    "format.collateral": (
        "operator",
        "send complete collateral for the quote's platform (`cloister attestation collateral show`)",
    ),
    "format.gpu_report": (
        "operator",
        "send GPU reports and their certificates as the driver gave them; `cloister verify gpu` says what is wrong",
    ),
    "format.rim": (
        "operator",
        "use reference values as NVIDIA's service serves them (`cloister verify gpu --rim`; docs/gpu-evidence.md)",
    ),
    "format.ocsp": (
        "operator",
        "keep answers of NVIDIA's OCSP responder as they come, in DER (`cloister verify gpu --ocsp`)",
    ),
    "format.frame": (
        "operator",
        "restart the job's relay (`cloister up` starts what is down): a frame has the wrong size or layout",
    ),
    "format.query": ("user", "send a tensor of the shape and type of the model's manifest (`cloister user query`)"),
    "format.model": (
        "provider",
        "order the model anew (`cloister owner train`): its weights do not fit the bundle's layout",
    ),
    # -- authenticity
    "authenticity.signature": (
        "sender",
        "sign with the key of the stated party (`--as NAME` says as whom a command acts)",
    ),
    "authenticity.http_signature": (
        "sender",
        "sign the request (RFC 9421) with an identity that this service knows: `pin` enrols yours",
    ),
    "authenticity.request_key": (
        "sender",
        "sign the request with your identity's key, and offer a share for another request key (docs/serving.md)",
    ),
    "authenticity.http_role": (
        "operator",
        "let services sign with the keys that `cloister up` or `cloister compose prepare` made: no party asks this",
    ),
    "authenticity.sealed_object": (
        "sender",
        "upload the object anew (`cloister owner upload`): a chunk is not the one that was sealed",
    ),
    "authenticity.wrapped_key": (
        "sender",
        "wrap the key anew to the key broker that the order names (`cloister owner upload`)",
    ),
    "authenticity.quote": (
        "operator",
        "run the enclave on a genuine platform under an accepted root (`cloister doctor`)",
    ),
    "authenticity.snp_report": (
        "operator",
        "run the guest on a genuine AMD processor, with certificates of its chip and firmware (`cloister verify snp`)",
    ),
    "authenticity.collateral": (
        "operator",
        "fetch it anew (`cloister attestation collateral import`): this is not signed as it says",
    ),
    "authenticity.gpu_report": (
        "operator",
        "use a genuine GPU: its report is not signed by the key in its certificates (`cloister verify gpu`)",
    ),
    "authenticity.rim": (
        "operator",
        "fetch reference values anew from NVIDIA's service: these are not signed as they say (`cloister verify gpu`)",
    ),
    "authenticity.ocsp": (
        "operator",
        "ask NVIDIA's OCSP responder anew (`cloister verify gpu --ocsp`): no issuer signed this answer",
    ),
    "authenticity.frame": (
        "operator",
        "check the network (`cloister status`): a frame was changed or is foreign to this job",
    ),
    "authenticity.query": (
        "operator",
        "check the route to the query enclave (`cloister status`): a query or answer was changed",
    ),
    "authenticity.receipt": (
        "user",
        "show the receipt as `cloister user query --receipt` kept it: this one was altered or forged",
    ),
    "authenticity.sealed_state": (
        "operator",
        "run the build that sealed the broker's state, on its platform, or `cloister up --hand-over` (docs/runbook.md)",
    ),
    "authenticity.tpm": (
        "operator",
        "use TPM and counter of the key broker's genesis record (`cloister witness define-counter` wrote which)",
    ),
    "authenticity.host": (
        "operator",
        "let the host quote with a key of its own TPM, and show that TPM's EK certificates (`cloister verify host`)",
    ),
    "authenticity.broker_reply": (
        "operator",
        "check the route to the attestation service (`cloister status`): its reply is not signed",
    ),
    "authenticity.log": (
        "operator",
        "serve the decision log whole, as the key broker signed it: compare (`cloister audit verify --seen`)",
    ),
    "authenticity.recovery_share": (
        "sender",
        "let the holder that is named make its share anew, for the broker as it runs now (`cloister recovery share`)",
    ),
    "authenticity.recovery_package": (
        "operator",
        "bring the package as the old key broker made it, with shares made for it (`cloister recovery submit`)",
    ),
    # -- freshness
    "freshness.serving": (
        "owner",
        "sign the next record of that name (`cloister owner promote` reads the newest first)",
    ),
    "freshness.challenge": (
        "operator",
        "nothing: the enclave asks for a new challenge; if that goes on, set the clock (`cloister doctor`)",
    ),
    "freshness.order": ("owner", "sign a new order with `cloister owner train`: this one was used or its time is over"),
    "freshness.grant": ("owner", "issue a new grant with `cloister owner grant`"),
    "freshness.identity": ("sender", "nothing: this identity was revoked or replaced already, and that is final"),
    "freshness.policy": ("owner", "sign the newest policy version with `cloister owner policy`"),
    "freshness.terms": ("provider", "sign the newest version of the terms with `cloister provider terms`"),
    "freshness.attempt": ("operator", "nothing: a newer attempt holds this slot"),
    "freshness.checkpoint": ("operator", "nothing: the job has a later checkpoint, or its schedule none at this tick"),
    "freshness.lease": (
        "operator",
        "let enclaves reach the attestation service (`cloister status`): a lease was not renewed",
    ),
    "freshness.frame": ("operator", "check the queue (`cloister status`): a frame was replayed or is out of order"),
    "freshness.request": (
        "sender",
        "send the request anew with a fresh time and nonce; set the clock if that goes on (`cloister doctor`)",
    ),
    "freshness.collateral": (
        "operator",
        "fetch current collateral (`cloister attestation collateral show`): it is expired or older than seen",
    ),
    "freshness.snp_endorsements": (
        "operator",
        "fetch certificates and revocation list anew from AMD's key service (`cloister verify snp --crl`)",
    ),
    "freshness.gpu_report": (
        "operator",
        "set the clock (`cloister doctor`); else use a GPU whose certificates are valid (`cloister verify gpu --at`)",
    ),
    "freshness.rim": (
        "operator",
        "fetch current reference values (`cloister verify gpu --rim`): the certificates of these are not valid now",
    ),
    "freshness.ocsp": (
        "operator",
        "ask NVIDIA's OCSP responder anew: an answer is old or missing (`cloister verify gpu --ocsp`)",
    ),
    "freshness.inventory": (
        "sender",
        "sign one with a higher number that revokes no less; bring it there (`cloister release publish-inventory`)",
    ),
    "freshness.state": (
        "operator",
        "restore the newest sealed state (`cloister restore`): the witnesses have seen a later one",
    ),
    "freshness.recovery": (
        "operator",
        "bring the newest package, the log after it and witnesses' words (`cloister witness retire`); else upload anew",
    ),
    "freshness.placement": (
        "operator",
        "let the query worker place the model again (`cloister up` starts what is down): its placement is expired",
    ),
    "freshness.session": ("user", "open a new session: `cloister user query` does"),
    "freshness.host": (
        "operator",
        "nothing: the host attests from the start; its TPM was reset, resumed or replaced, or the quote is an old one",
    ),
    "freshness.report": (
        "operator",
        "serve each sealed report of a job once, in their order, as `cloister restore` puts them back",
    ),
    # -- appraisal
    "appraisal.measurement": ("operator", "run the enclave code that the release names (`cloister measure`)"),
    "appraisal.attributes": (
        "operator",
        "launch the enclave with the attributes that the release states (`cloister release show`)",
    ),
    "appraisal.td_attributes": (
        "operator",
        "launch the domain with SEPT_VE_DISABLE, neither profiled nor migratable (`cloister verify quote` shows it)",
    ),
    "appraisal.service_td": (
        "operator",
        "launch the trust domain without a service TD (`cloister verify quote` shows it)",
    ),
    "appraisal.guest": (
        "operator",
        "launch the guest as its reference value says: policy, privilege level (`cloister verify snp` shows both)",
    ),
    "appraisal.firmware": (
        "operator",
        "update the machine's firmware to what the terms ask for (`cloister verify snp` shows what it is)",
    ),
    "appraisal.tcb_status": (
        "operator",
        "update the platform: its TCB status is not accepted (`cloister verify quote` shows it)",
    ),
    "appraisal.tcb_evaluation": (
        "operator",
        "fetch Intel's newest TCB evaluation (`cloister attestation collateral show`)",
    ),
    "appraisal.platform": (
        "operator",
        "use a platform that the parties' terms accept (`cloister audit reasons` says which this one is)",
    ),
    "appraisal.platform_revoked": (
        "operator",
        "use another machine: release keys have revoked this one (`cloister release show` on the inventory)",
    ),
    "appraisal.platform_configuration": (
        "operator",
        "configure the platform as the terms accept it (`cloister audit reasons` says what it is)",
    ),
    "appraisal.advisory": (
        "operator",
        "update the platform: one of its security advisories is not accepted (`cloister audit reasons` names them)",
    ),
    "appraisal.debug": (
        "operator",
        "run a production enclave, of `cloister enclaves sign`: debug enclaves are refused",
    ),
    "appraisal.root": ("operator", "use a platform whose root the release allows (`cloister release show`)"),
    "appraisal.host_log": (
        "operator",
        "show the whole list and boot log of this boot, read after the quote (`cloister verify host`)",
    ),
    "appraisal.host_boot": (
        "operator",
        "boot what the profile allows, or have a profile signed for what boots now (`cloister host profile`)",
    ),
    "appraisal.host_file": (
        "operator",
        "start the host anew and run only what the profile allows; `cloister host profile` makes one that allows more",
    ),
    "appraisal.host_profile": (
        "operator",
        "bring the signed profile that the policy names, with its files (`cloister host profile` makes one)",
    ),
    "appraisal.binding": (
        "operator",
        "nothing: the enclave attests anew; if that goes on, start it anew (`cloister status` names what is down)",
    ),
    "appraisal.gpu_binding": (
        "operator",
        "nothing: GPUs are asked anew with the nonce of this launch (`cloister verify gpu` shows with which they were)",
    ),
    "appraisal.gpu_root": (
        "operator",
        "use GPUs whose certificates end in an accepted root (`cloister verify gpu` shows theirs)",
    ),
    "appraisal.gpu_firmware": (
        "operator",
        "reset the GPU: its firmware is not the certified one, or in debug or recovery (`cloister verify gpu`)",
    ),
    "appraisal.gpu_set": (
        "operator",
        "show each GPU and switch of this host once, of one kind, driver and mode (`cloister verify gpu` lists them)",
    ),
    "appraisal.gpu_device": (
        "operator",
        "use GPUs that the parties' terms accept (`cloister verify gpu` names architecture and device)",
    ),
    "appraisal.gpu_version": (
        "operator",
        "run a driver and VBIOS that the parties' terms accept (`cloister verify gpu` shows both)",
    ),
    "appraisal.gpu_mode": (
        "operator",
        "set the GPU to a confidential mode that the parties' terms accept (`cloister verify gpu` shows it)",
    ),
    "appraisal.gpu_rim": (
        "operator",
        "show NVIDIA's reference values of exactly this driver and VBIOS (`cloister verify gpu --rim`)",
    ),
    "appraisal.gpu_measurement": (
        "operator",
        "run the driver and VBIOS unchanged, debug tools off (`cloister verify gpu` lists what differs)",
    ),
    "appraisal.gpu_revoked": (
        "operator",
        "use another GPU, or newer reference values: NVIDIA has revoked a certificate (`cloister verify gpu --ocsp`)",
    ),
    "appraisal.placement": (
        "operator",
        "place the model that the grant names in this query enclave (`cloister up` starts the query worker)",
    ),
    "appraisal.release": (
        "operator",
        "publish a release signed by enough pinned release keys (`cloister release sign`)",
    ),
    "appraisal.downgrade": (
        "operator",
        "hand over to a build whose security version (ISVSVN) is not lower (`cloister release show`)",
    ),
    "appraisal.receipt": (
        "user",
        "show the receipt of this query and user (`cloister user query --receipt`): it is one of others",
    ),
    "appraisal.manifest": (
        "operator",
        "return the manifest of the model that this order's job has sealed (`cloister restore` brings it back)",
    ),
    "appraisal.pin": (
        "sender",
        "compare fingerprints with the party that gave you the expected one, then pin anew (`cloister owner pin`)",
    ),
    "appraisal.own_build": (
        "operator",
        "publish a release of the code that the owner has checked out (`cloister release draft`)",
    ),
    "appraisal.floor": ("sender", "use real hardware, or an identity made by `cloister keygen --unsafe-simulation`"),
    "appraisal.trust_level": (
        "operator",
        "use a platform of the demanded trust level (`cloister status` says which this one has)",
    ),
    # -- policy
    "policy.identity": (
        "sender",
        "sign with the identity that replaced this one (`cloister identity replace`), or with one that is in force",
    ),
    "policy.release_key": ("sender", "sign as one of the release keys that the trust settings name (`--as NAME`)"),
    "policy.signer": (
        "sender",
        "let the party that the document names sign it (`--as NAME` says as whom a command acts)",
    ),
    "policy.broker": ("owner", "sign it for this key broker (`cloister owner pin`)"),
    "policy.provider": ("owner", "name the provider in the policy (`cloister owner policy`)"),
    "policy.bundle": ("owner", "name the bundle in the policy (`cloister owner policy`), order it as it is published"),
    "policy.release": (
        "owner",
        "name the release in the policy (`cloister owner policy`), or order under the one that it names",
    ),
    "policy.measurement": (
        "owner",
        "name the measurement in the policy (`cloister owner policy`), or order under a release that has it",
    ),
    "policy.purpose": ("owner", "allow the purpose in the policy (`cloister owner policy`)"),
    "policy.expired": ("owner", "sign a policy that is still valid (`cloister owner policy`)"),
    "policy.jobs": ("owner", "allow more jobs in the policy (`cloister owner policy`)"),
    "policy.attempts": ("owner", "sign a new order (`cloister owner train`): the attempts of this slot are used up"),
    "policy.dataset": ("owner", "order only data sets that this policy covers (`cloister owner train`)"),
    "policy.sandbox": ("owner", "allow this sandbox in the policy (`cloister owner policy`), or run where it is sound"),
    "policy.trust_level": ("owner", "allow this trust level (`cloister owner policy`), or use a stronger platform"),
    "policy.precision": (
        "owner",
        "order `cloister owner train --answers-in float32` or `bfloat16`: int8 is judged for one owner's data alone",
    ),
    "policy.shards": (
        "owner",
        "order trainers for each owner's data (`cloister owner joint draft`), of no design code",
    ),
    "policy.answer_timing": (
        "owner",
        "order it with `cloister owner train --answer-timing padded`, or of a bundle that is exported to a graph",
    ),
    "policy.serving": (
        "owner",
        "promote the model under that name (`cloister owner promote`), or ask the one that it stands for now",
    ),
    "policy.slots": ("owner", "order a number of trainers within the policy (`cloister owner train --trainers`)"),
    "policy.size": ("owner", "allow models of this size class (`cloister owner policy`; `at_most: state_values`)"),
    "policy.user": ("owner", "name the user in the policy (`cloister owner policy`; `answering: users`)"),
    "policy.approvals": (
        "owner",
        "let enough approvers of the present policy sign the new one (`cloister policy approve`)",
    ),
    "policy.terms_approvals": (
        "provider",
        "let enough approvers of the present terms sign the new ones (`cloister policy approve`)",
    ),
    "policy.recovery": (
        "operator",
        "bring shares of as many holders as the owner's policy asks for (`cloister recovery show`)",
    ),
    "policy.witnesses": (
        "operator",
        "start the new key broker with witnesses of the old one alone, in as large a quorum (`cloister witness run`)",
    ),
    "policy.bits": (
        "owner",
        "look at `cloister owner ledger DATASET`, and allow more bits in the policy if that is right",
    ),
    "policy.revoked": (
        "owner",
        "upload, publish, order or grant anew (`cloister owner upload`): this was ended for good",
    ),
    "policy.retired": (
        "provider",
        "publish a newer version for the owner to name (`cloister provider publish`): this one takes no new order",
    ),
    "policy.handover": (
        "owner",
        "pin the new release (`cloister owner pin`), then upload, publish or order anew: this key stayed behind",
    ),
    "policy.grant": ("owner", "grant the user access with `cloister owner grant`"),
    "policy.budget": ("owner", "grant more answers with `cloister owner grant`"),
    "policy.provider_terms": (
        "provider",
        "sign terms that allow it (`cloister provider terms`), or use a stronger platform",
    ),
    # -- quota, existence, conflicts
    "quota.bytes": (
        "operator",
        "raise the identity's quota (`cloister enrolment admit PARTY --quota-bytes N`), or let it delete objects",
    ),
    "quota.window": ("owner", "order data sets of at most 1 TiB together (`cloister owner train`)"),
    "quota.requests": ("sender", "ask less often: wait as many seconds as `Retry-After` says"),
    "quota.names": ("owner", "let a name of yours stand for it that is there (`cloister owner services` lists them)"),
    "quota.identities": ("operator", "enrol this identity (`cloister enrolment admit PARTY`)"),
    "not_found.identity": ("sender", "make an identity with `cloister keygen NAME`"),
    "not_found.enrolment": ("operator", "name an identity that is enrolled (`cloister enrolment admit` enrols one)"),
    "not_found.endpoints": (
        "sender",
        "start a stack with `cloister up`, or name its file (`--endpoints`, or `--trust-settings`)",
    ),
    "not_found.pin": ("sender", "pin what to trust with `cloister owner pin` (or `provider pin`, `user pin`)"),
    "not_found.key": ("sender", "work in the identity directory in which the object was sealed (`--home PATH`)"),
    "not_found.job": ("sender", "list your jobs with `cloister owner jobs`"),
    "not_found.report": (
        "sender",
        "ask again when the job is over (`cloister watch JOB`); one that the operator ended alone has none",
    ),
    "not_found.dataset": ("owner", "upload and register the data set first (`cloister owner upload`)"),
    "not_found.bundle": ("provider", "publish the bundle first (`cloister provider publish`)"),
    "not_found.answer": ("user", "submit the query again (`cloister user query`): answers are kept for two minutes"),
    "not_found.model": ("owner", "wait until the job has sealed its model (`cloister owner watch`)"),
    "not_found.serving": ("owner", "give a model that name first (`cloister owner promote NAME MODEL`)"),
    "not_found.upload": ("sender", "begin the upload again (`cloister owner upload`)"),
    "not_found.object": ("sender", "upload the object first (`cloister owner upload`, `cloister provider publish`)"),
    "not_found.launch": (
        "sender",
        "name a launch of the broker's member list that holds its slot or placement (`cloister status`)",
    ),
    "not_found.path": ("sender", "use a documented method and path (docs/formats.md)"),
    "not_found.file": ("sender", "name a file or directory that is there and that you may read"),
    "not_found.recovery_key": (
        "sender",
        "name a recovery key of an identity that this key broker knows; else `cloister owner delete` each data set",
    ),
    "not_found.grant": (
        "sender",
        "name a grant that is there: `cloister owner grant` makes one, for the user to be handed",
    ),
    "not_found.peer": ("operator", "name the peer's genesis in `peers` of the witnessing broker's settings"),
    "not_found.holder": (
        "owner",
        "let the holder make a card (`cloister recovery card`), and keep it (`cloister recovery add-holder CARD`)",
    ),
    "not_found.recovery": (
        "operator",
        "name a data set whose policy names recovery holders, and the old broker's state directory in `recover_from`",
    ),
    "not_found.enclave": ("operator", "build and sign the enclave first (`cloister enclaves build`, `enclaves sign`)"),
    "not_found.role": ("operator", "start one of the roles that `cloister measure` lists"),
    "not_found.image": ("operator", "build the images first (`docker compose build`), where a Docker engine answers"),
    "conflict.object": ("sender", "upload the bytes that the manifest states (`cloister owner upload`)"),
    "conflict.incomplete": (
        "sender",
        "send the missing leaves, then complete the upload (`cloister owner upload` does both)",
    ),
    "conflict.identity": ("sender", "choose another name (`cloister keygen NAME`): a key file is never overwritten"),
    "conflict.identity_card": (
        "sender",
        "use another identity (`cloister keygen NAME`): only the recovery key that it became known with changes this",
    ),
    "conflict.sealed_directory": ("sender", "name a new directory (`-o`): what was sealed is never overwritten"),
    "conflict.release_file": (
        "sender",
        "name another file (`cloister release draft -o`): a release is drafted once, and signed where it lies",
    ),
    "conflict.provider_directory": (
        "sender",
        "name a new or empty directory (`cloister provider init`): files that are there are never overwritten",
    ),
    "conflict.order_file": ("sender", "name another file (`-o`): a signed order is never overwritten"),
    "conflict.grant_file": ("sender", "name another file (`-o`): a grant that was signed is never overwritten"),
    "conflict.receipt_file": ("user", "name another file (`cloister user query --receipt`): none is overwritten"),
    "conflict.registered": ("sender", "nothing: it is registered already under other terms"),
    "conflict.successor": (
        "operator",
        "nothing: this witness has confirmed the end of that key broker, in favour of one successor",
    ),
    "conflict.placement": ("operator", "nothing: this launch serves a model already"),
    "conflict.serving": ("owner", "look at what the name stands for with `cloister owner services`"),
    "conflict.job_state": ("owner", "look at the job with `cloister owner watch`: its state does not allow this"),
    "conflict.handed_over": (
        "operator",
        "start the build to which this key broker has handed over, on its newest state (`cloister up`)",
    ),
    "conflict.handover_terms": (
        "operator",
        "let owners and providers name the new release in their terms, or hand over with `--leave-behind`",
    ),
    "conflict.stack_up": ("operator", "use the stack that is up, or stop it with `cloister down`"),
    "conflict.state_directory": ("operator", "name a new or empty directory, or one that `cloister up` made"),
    "conflict.host_list": (
        "operator",
        "move an earlier boot's list away; if it is this boot's, restart the host (`cloister verify host` compares)",
    ),
    "conflict.newer_state": (
        "operator",
        "keep the newer state; an older one releases nothing that was decided since (docs/runbook.md, `--over-newer`)",
    ),
    "conflict.build": (
        "operator",
        "check out the build that made this state, or let it hand over: `cloister up --hand-over` (docs/runbook.md)",
    ),
    # -- unavailable
    "unavailable.frozen": ("operator", "let a witness confirm the key broker's log head (`cloister witness run`)"),
    "unavailable.service": ("operator", "start the services (`cloister up`) and look at `cloister status`"),
    "unavailable.broker": ("operator", "start the attestation service (`cloister up`) and look at its /readyz"),
    "unavailable.queue": (
        "operator",
        "start RabbitMQ (`cloister up` starts its own) and look at the service's /readyz",
    ),
    "unavailable.cache": ("operator", "start Redis (`cloister up` starts its own) and look at the service's /readyz"),
    "unavailable.registry": (
        "operator",
        "make the registry's database reachable (`cloister status` says what waits for it)",
    ),
    "unavailable.store": ("operator", "make the object store reachable (`cloister doctor` looks at its disk)"),
    "unavailable.rounds": (
        "owner",
        "no round was done: mend what the job's last report says (`cloister owner watch`), or order more `--slack`",
    ),
    "unavailable.toolchain": (
        "operator",
        "start this slot on a processor with amx_tile and amx_bf16, as its fellows; or order `--toolchain fp32`",
    ),
    "unavailable.report": (
        "operator",
        "serve the job's last report (`cloister restore`): nobody else knows what was learned; else order it again",
    ),
    "unavailable.full": ("sender", "try again later, as `Retry-After` says: the queue is full"),
    "unavailable.rate": ("user", "wait a minute: the parties' terms allow no more queries in it"),
    "unavailable.enclave": ("operator", "start the enclave (`cloister status`) and look at the service's /readyz"),
    "unavailable.launcher": (
        "operator",
        "make the enclave launcher work on this host (`cloister doctor`, and the service's log)",
    ),
    "unavailable.gramine": (
        "operator",
        "install Gramine 1.9 or newer: `apt-get install gramine`; look at what its tool says (docs/deploy-sgx.md)",
    ),
    "unavailable.tpm": (
        "operator",
        "let this user read and write the TPM (`/dev/tpmrm0`), with its counter (`cloister witness define-counter`)",
    ),
    "unavailable.host_log": (
        "operator",
        "let this user read IMA's list, boot log, certificates and what is to run (`cloister verify host` names them)",
    ),
    "unavailable.time": (
        "operator",
        "set the host's clock (`cloister doctor` compares it): it is behind the newest signed time",
    ),
    "unavailable.installation": (
        "operator",
        "install what is missing: `apt-get install rabbitmq-server redis-server bubblewrap`",
    ),
    "unavailable.component_builder": (
        "provider",
        "install it (`pip install 'componentize-py>=0.25.1,<0.26'`), or pack a component that was built elsewhere",
    ),
    "unavailable.stack": ("operator", "look at `cloister status` and at the log of the service that is not ready"),
    "unavailable.collateral": (
        "operator",
        "let the attestation service reach its PCCS, or `cloister attestation collateral import FILE`",
    ),
    # -- confinement
    "confinement.bubblewrap": ("operator", "install bubblewrap: `apt-get install bubblewrap`"),
    "confinement.user_namespaces": (
        "operator",
        "allow user namespaces: `sysctl user.max_user_namespaces=9999 kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    "confinement.seccomp": ("operator", "install libseccomp: `apt-get install libseccomp2`"),
    "confinement.pair": (
        "operator",
        "use a sandbox and device that are sound here: a design, `cloister owner train --device cpu`, another machine",
    ),
    "confinement.gpu": (
        "operator",
        "give the trainer an NVIDIA GPU, its driver, torch's CUDA build; or order `cloister owner train --device cpu`",
    ),
    "confinement.failed": (
        "operator",
        "run `bwrap --unshare-all --ro-bind / / true` on this host and mend what it says",
    ),
    # -- outcomes of provider code, told to the owner only
    "provider.import": ("provider", "make the bundle import in `cloister provider check`"),
    "provider.raised": ("provider", "make the bundle's code run without an exception (`cloister provider check`)"),
    "provider.timeout": (
        "provider",
        "make a round's work fit the order's schedule (`cloister provider publish --measure`)",
    ),
    "provider.killed": ("provider", "stay within the sandbox's limits and system calls (`cloister provider check`)"),
    "provider.not_repeatable": (
        "provider",
        "draw what is random from torch, NumPy or `random`, which the sandbox seeds; not from time, ids or addresses",
    ),
    "provider.input": (
        "provider",
        "declare input and label columns as the data set has them (`cloister provider check`)",
    ),
    "provider.output": (
        "provider",
        "write parameters of the declared size that are all finite (`cloister provider check`)",
    ),
    "provider.differs": (
        "provider",
        "let a design depend on profile and seed alone (`cloister provider check`): trainers got different ones",
    ),
    "provider.stopped": ("provider", "nothing is broken: the design ended the training by itself"),
}
