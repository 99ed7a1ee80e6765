"""The names OpenDSS knows, in the order in which it tries them.

The order gives an abbreviation its meaning: OpenDSS takes the first name that begins with what was written,
and a value without a name belongs to the property after the last one. Taken from DSS C-API 0.14.5; a test
compares these tables with the installed engine, so that a new release cannot shift a name unseen.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COMMANDS: Final = _words(
    """
    new edit more m ~ select save show solve enable disable plot reset compile set dump open close
    // redirect help quit ? next panel sample clear about calcvoltagebases setkvbase buildy get init
    export fileedit voltages currents powers seqvoltages seqcurrents seqpowers losses phaselosses
    cktlosses allocateloads formedit totals capacity classes userclasses zsc zsc10 zscrefresh ysc
    puvoltages varvalues varnames buscoords makebuslist makeposseq reduce interpolate alignfile top
    rotate vdiff summary distribute di_plot comparecases yearlycurves cd visualize closedi doscmd
    estimate reconductor _initsnap _solvenocontrol _samplecontrols _docontrolactions
    _showcontrolqueue _solvedirect _solvepflow addbusmarker uuids setloadandgenkv cvrtloadshapes
    nodediff rephase setbusxy updatestorage obfuscate latlongcoords batchedit pstcalc variable
    reprocessbuses clearbusmarkers relcalc var cleanup finishtimestep nodelist connect disconnect
    remove calcincmatrix calcincmatrix_o refine_buslevels calclaplacian exportoverloads
    exportvviolations zsc012 allpceatbus allpdeatbus totalpowers giscoords clearall comhelp newactor
    wait solveall abort clone
    """
)

OPTIONS: Final = _words(
    """
    type element hour sec year frequency stepsize mode random number time class object circuit
    editor tolerance maxiterations h loadmodel loadmult normvminpu normvmaxpu emergvminpu
    emergvmaxpu %mean %stddev ldcurve %growth genkw genpf capkvar addtype allowduplicates zonelock
    ueweight lossweight ueregs lossregs voltagebases algorithm trapezoidal autobuslist controlmode
    tracecontrol genmult defaultdaily defaultyearly allocationfactors cktmodel pricesignal
    pricecurve terminal basefrequency harmonics maxcontroliter bus datapath keeplist reduceoption
    demandinterval %normal diverbose casename markercode nodewidth log recorder overloadreport
    voltexceptionreport cfactors showexport numallociterations defaultbasefrequency markswitches
    switchmarkercode daisysize marktransformers transmarkercode transmarkersize loadshapeclass
    earthmodel querylog markcapacitors markregulators markpvsystems markstorage capmarkercode
    regmarkercode pvmarkercode storemarkercode capmarkersize regmarkersize pvmarkersize
    storemarkersize neglectloady markfuses fusemarkercode fusemarkersize markreclosers
    reclosermarkercode reclosermarkersize registryupdate markrelays relaymarkercode relaymarkersize
    processtime totaltime steptime sampleenergymeters miniterations dssvisualizationtool keepload
    zmag seasonrating seasonsignal linetypes eventlogdefault longlinecorrection showreports numcpus
    numcores numactors activeactor cpu actorprogress parallel concatenatereports numanodes
    """
)

_PROPERTIES: Final = {
    "LineCode": """
        nphases r1 x1 r0 x0 c1 c0 units rmatrix xmatrix cmatrix basefreq normamps emergamps
        faultrate pctperm repair kron rg xg rho neutral b1 b0 seasons ratings linetype like
    """,
    "LoadShape": """
        npts interval mult hour mean stddev csvfile sngfile dblfile action qmult useactual pmax qmax
        sinterval minterval pbase qbase pmult pqcsvfile memorymapping interpolation like
    """,
    "TShape": """
        npts interval temp hour mean stddev csvfile sngfile dblfile sinterval minterval action like
    """,
    "PriceShape": """
        npts interval price hour mean stddev csvfile sngfile dblfile sinterval minterval action like
    """,
    "XYcurve": """
        npts points yarray xarray csvfile sngfile dblfile x y xshift yshift xscale yscale like
    """,
    "GrowthShape": """
        npts year mult csvfile sngfile dblfile like
    """,
    "TCC_Curve": """
        npts c_array t_array like
    """,
    "Spectrum": """
        numharm harmonic %mag angle csvfile like
    """,
    "WireData": """
        rdc rac runits gmrac gmrunits radius radunits normamps emergamps diam seasons ratings
        capradius like
    """,
    "CNData": """
        k diastrand gmrstrand rstrand epsr inslayer diains diacable rdc rac runits gmrac gmrunits
        radius radunits normamps emergamps diam seasons ratings capradius like
    """,
    "TSData": """
        diashield tapelayer tapelap epsr inslayer diains diacable rdc rac runits gmrac gmrunits
        radius radunits normamps emergamps diam seasons ratings capradius like
    """,
    "LineSpacing": """
        nconds nphases x h units like
    """,
    "LineGeometry": """
        nconds nphases cond wire x h units normamps emergamps reduce spacing wires cncable tscable
        cncables tscables seasons ratings linetype like
    """,
    "XfmrCode": """
        phases windings wdg conn kv kva tap %r rneut xneut conns kvs kvas taps xhl xht xlt xscarray
        thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva maxtap mintap numtaps
        %imag ppm_antifloat %rs x12 x13 x23 rdcohms seasons ratings like
    """,
    "Line": """
        bus1 bus2 linecode length phases r1 x1 r0 x0 c1 c0 rmatrix xmatrix cmatrix switch rg xg rho
        geometry units spacing wires earthmodel cncables tscables b1 b0 seasons ratings linetype
        normamps emergamps faultrate pctperm repair basefreq enabled like
    """,
    "Vsource": """
        bus1 basekv pu angle frequency phases mvasc3 mvasc1 x1r1 x0r0 isc3 isc1 r1 x1 r0 x0 scantype
        sequence bus2 z1 z0 z2 puz1 puz0 puz2 basemva yearly daily duty model puzideal spectrum
        basefreq enabled like
    """,
    "Isource": """
        bus1 amps angle frequency phases scantype sequence yearly daily duty bus2 spectrum basefreq
        enabled like
    """,
    "Load": """
        phases bus1 kv kw pf model yearly daily duty growth conn kvar rneut xneut status class
        vminpu vmaxpu vminnorm vminemerg xfkva allocationfactor kva %mean %stddev cvrwatts cvrvars
        kwh kwhdays cfactor cvrcurve numcust zipv %seriesrl relweight vlowpu puxharm xrharm spectrum
        basefreq enabled like
    """,
    "Transformer": """
        phases windings wdg bus conn kv kva tap %r rneut xneut buses conns kvs kvas taps xhl xht xlt
        xscarray thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva sub maxtap
        mintap numtaps subname %imag ppm_antifloat %rs bank xfmrcode xrconst x12 x13 x23 leadlag
        wdgcurrents core rdcohms seasons ratings normamps emergamps faultrate pctperm repair
        basefreq enabled like
    """,
    "RegControl": """
        transformer winding vreg band ptratio ctprim r x bus delay reversible revvreg revband revr
        revx tapdelay debugtrace maxtapchange inversetime tapwinding vlimit ptphase revthreshold
        revdelay revneutral eventlog remoteptratio tapnum reset ldc_z rev_z cogen basefreq enabled
        like
    """,
    "Capacitor": """
        bus1 bus2 phases kvar kv conn cmatrix cuf r xl harm numsteps states normamps emergamps
        faultrate pctperm repair basefreq enabled like
    """,
    "Reactor": """
        bus1 bus2 phases kvar kv conn rmatrix xmatrix parallel r x rp z1 z2 z0 z rcurve lcurve lmh
        normamps emergamps faultrate pctperm repair basefreq enabled like
    """,
    "CapControl": """
        element terminal capacitor type ptratio ctratio onsetting offsetting delay voltoverride vmax
        vmin delayoff deadtime ctphase ptphase vbus eventlog usermodel userdata pctminkvar reset
        controlsignal basefreq enabled like
    """,
    "Fault": """
        bus1 bus2 phases r %stddev gmatrix ontime temporary minamps normamps emergamps faultrate
        pctperm repair basefreq enabled like
    """,
    "Generator": """
        phases bus1 kv kw pf kvar model vminpu vmaxpu yearly daily duty dispmode dispvalue conn
        status class vpu maxkvar minkvar pvfactor forceon kva mva xd xdp xdpp h d usermodel userdata
        shaftmodel shaftdata dutystart debugtrace balanced xrdp usefuel fuelkwh %fuel %reserve
        refuel dynamiceq dynout spectrum basefreq enabled like
    """,
    "Storage": """
        phases bus1 kv conn kw kvar pf kva %cutin %cutout effcurve varfollowinverter kvarmax
        kvarmaxabs wattpriority pfpriority %pminnovars %pminkvarmax kwrated %kwrated kwhrated
        kwhstored %stored %reserve state %discharge %charge %effcharge %effdischarge %idlingkw
        %idlingkvar %r %x model vminpu vmaxpu balanced limitcurrent yearly daily duty dispmode
        dischargetrigger chargetrigger timechargetrig class dynadll dynadata usermodel userdata
        debugtrace kvdc kp pitol safevoltage safemode dynamiceq dynout controlmode amplimit
        amplimitgain spectrum basefreq enabled like
    """,
    "StorageController": """
        element terminal monphase kwtarget kwtargetlow %kwband kwband %kwbandlow kwbandlow
        elementlist weights modedischarge modecharge timedischargetrigger timechargetrigger %ratekw
        %ratecharge %reserve kwhtotal kwtotal kwhactual kwactual kwneed yearly daily duty eventlog
        inhibittime tup tflat tdn kwthreshold dispfactor resetlevel seasons seasontargets
        seasontargetslow basefreq enabled like
    """,
    "Relay": """
        monitoredobj monitoredterm switchedobj switchedterm type phasecurve groundcurve phasetrip
        groundtrip tdphase tdground phaseinst groundinst reset shots recloseintervals delay
        overvoltcurve undervoltcurve kvbase 47%pickup 46baseamps 46%pickup 46isqt variable overtrip
        undertrip breakertime action z1mag z1ang z0mag z0ang mphase mground eventlog debugtrace
        distreverse normal state doc_tiltanglelow doc_tiltanglehigh doc_tripsettinglow
        doc_tripsettinghigh doc_tripsettingmag doc_delayinner doc_phasecurveinner doc_phasetripinner
        doc_tdphaseinner doc_p1blocking basefreq enabled like
    """,
    "Recloser": """
        monitoredobj monitoredterm switchedobj switchedterm numfast phasefast phasedelayed
        groundfast grounddelayed phasetrip groundtrip phaseinst groundinst reset shots
        recloseintervals delay action tdphfast tdgrfast tdphdelayed tdgrdelayed normal state
        basefreq enabled like
    """,
    "Fuse": """
        monitoredobj monitoredterm switchedobj switchedterm fusecurve ratedcurrent delay action
        normal state basefreq enabled like
    """,
    "SwtControl": """
        switchedobj switchedterm action lock delay normal state reset basefreq enabled like
    """,
    "PVSystem": """
        phases bus1 kv irradiance pmpp %pmpp temperature pf conn kvar kva %cutin %cutout effcurve
        p-tcurve %r %x model vminpu vmaxpu balanced limitcurrent yearly daily duty tyearly tdaily
        tduty class usermodel userdata debugtrace varfollowinverter dutystart wattpriority
        pfpriority %pminnovars %pminkvarmax kvarmax kvarmaxabs kvdc kp pitol safevoltage safemode
        dynamiceq dynout controlmode amplimit amplimitgain spectrum basefreq enabled like
    """,
    "IndMach012": """
        phases bus1 kv kw pf conn kva h d purs puxs purr puxr puxm slip maxslip slipoption yearly
        daily duty debugtrace spectrum basefreq enabled like
    """,
    "AutoTrans": """
        phases windings wdg bus conn kv kva tap %r rdcohms core buses conns kvs kvas taps xhx xht
        xxt xscarray thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva sub maxtap
        mintap numtaps subname %imag ppm_antifloat %rs bank xrconst leadlag wdgcurrents normamps
        emergamps faultrate pctperm repair basefreq enabled like
    """,
    "InvControl": """
        derlist mode combimode vvc_curve1 hysteresis_offset voltage_curvex_ref avgwindowlen
        voltwatt_curve dbvmin dbvmax argralowv argrahiv dynreacavgwindowlen deltaq_factor
        voltagechangetolerance varchangetolerance voltwattyaxis rateofchangemode lpftau
        risefalllimit deltap_factor eventlog refreactivepower activepchangetolerance monvoltagecalc
        monbus monbusesvbase voltwattch_curve wattpf_curve wattvar_curve vv_refreactivepower
        pvsystemlist vsetpoint controlmodel basefreq enabled like
    """,
    "ExpControl": """
        pvsystemlist vreg slope vregtau qbias vregmin vregmax qmaxlead qmaxlag eventlog
        deltaq_factor preferq tresponse derlist basefreq enabled like
    """,
    "Monitor": """
        element terminal mode action residual vipolar ppolar basefreq enabled like
    """,
    "EnergyMeter": """
        element terminal action option kvanormal kvaemerg peakcurrent zonelist localonly mask losses
        linelosses xfmrlosses seqlosses 3phaselosses vbaselosses phasevoltagereport int_rate
        int_duration saifi saifikw saidi caidi custinterrupts basefreq enabled like
    """,
    "Sensor": """
        element terminal kvbase clear kvs currents kws kvars conn deltadirection %error weight
        basefreq enabled like
    """,
}

CLASSES: Final[Mapping[str, str]] = MappingProxyType({name.lower(): name for name in _PROPERTIES})
"""The element classes a feeder may use: as OpenDSS compares them, and as people write them."""

PROPERTIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {name.lower(): _words(words) for name, words in _PROPERTIES.items()}
)
"""The properties of each class, in OpenDSS's order."""
